import Contracts
import Delivery
import Kafka

/// When temporary failures count as a dead address: this many deliveries that expired undelivered, within the window.
struct SoftBounceRule: Sendable {
    let deliveries: Int
    let window: Duration
}

/// An event that may change what is known of an address.
struct Lesson: Sendable, Equatable {
    let delivery: DeliveryID
    let fact: DeliveryFact
    let eventID: String
    let occurredAtMicroseconds: Int64
    let evidence: String

    /// Facts that block an address at once. A permanent refusal does so whoever is at fault: iClassPro lists a hard
    /// bounce among the blacklisted recipients (I-27, I-28), and mail that is refused by policy harms the sender's
    /// name as well.
    static let blocking: Set<DeliveryFact> = [.bounced, .bouncedInvalid, .complained]
    static let facts = blocking.union([.expired, .optedOut])

    /// Nil for an event that teaches nothing.
    init?(_ event: DeliveryEvent) {
        guard Self.facts.contains(event.fact) else { return nil }
        self.init(
            delivery: event.delivery, fact: event.fact, eventID: event.id,
            occurredAtMicroseconds: event.occurredAtMicroseconds, evidence: event.evidence)
    }

    init(
        delivery: DeliveryID, fact: DeliveryFact, eventID: String, occurredAtMicroseconds: Int64, evidence: String = ""
    ) {
        self.delivery = delivery
        self.fact = fact
        self.eventID = eventID
        self.occurredAtMicroseconds = occurredAtMicroseconds
        self.evidence = evidence
    }
}
