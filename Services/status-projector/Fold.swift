import Contracts
import Delivery

/// What is stored about one delivery.
struct DeliveryState: Sendable, Hashable {
    var district: DistrictID
    var facts: DeliveryFacts
    var lastSeq: Int64?
    var attempts: Int32
    var lastAttemptAtMicroseconds: Int64?
    var response: String?
    var responseAtMicroseconds: Int64?
    var changedAtMicroseconds: Int64?
    /// Whom the district means. No event changes it.
    var personReference: String?
}

/// One event as read from its topic.
struct ReadEvent: Sendable {
    let event: DeliveryEvent
    let offset: Int64
    let recordedAtMicroseconds: Int64
    let value: [UInt8]
}

/// One change of one delivery: a row of the log and a record on the status topic.
struct Change: Sendable, Hashable {
    let delivery: DeliveryID
    let seq: Int64
    let previousSeq: Int64?
    let event: DeliveryEvent
    let recordedAtMicroseconds: Int64
    /// Nil when the change bears no new fact: a further attempt, another answer.
    let newFact: DeliveryFact?
    let state: DeliveryState
}

/// A batch of events folded into the states of their deliveries, in offset order, without IO.
///
/// Facts are joined, so any order and any repetition of the same events ends in the same facts. Everything the fold
/// adds to a state merges by a rule of that kind: attempts and times by maximum, the answer by the time it was given.
/// Only `changedAtMicroseconds` and the log tell the order of arrival: a repeated fact changes nothing, so what counts is
/// who said it first. Nothing comes from a clock or from chance: folding the same history again gives the same rows.
struct Fold: Sendable {
    /// First entry into one of these is recorded apart, so that reports find the rare troubles without a scan.
    static let problems = DeliveryFacts(
        .noAddress, .invalid, .blockedBounce, .blockedComplaint, .blockedInvalid, .inDoubt, .unknown, .notSent,
        .expired, .bounced, .bouncedInvalid, .optedOut, .complained)

    private(set) var states: [DeliveryID: DeliveryState]
    private let initial: [DeliveryID: DeliveryFacts]
    let startSeq: Int64
    private(set) var changes: [Change] = []
    /// Deliveries whose state changed, in order of their first change.
    private(set) var changed: [DeliveryID] = []
    private var hasChanged: Set<DeliveryID> = []
    /// Events that name a delivery without a row.
    private(set) var late: [ReadEvent] = []
    /// Events whose district is not the delivery's.
    private(set) var foreign: [ReadEvent] = []
    private(set) var repeated = 0
    private(set) var seq: Int64

    /// - Parameters:
    ///   - states: the stored states of the deliveries concerned; a missing one has no row.
    ///   - seq: the sequence number of the partition's newest log record.
    init(states: [DeliveryID: DeliveryState], seq: Int64) {
        self.states = states
        initial = states.mapValues(\.facts)
        startSeq = seq
        self.seq = seq
    }

    mutating func apply(_ read: ReadEvent) {
        let event = read.event
        guard let before = states[event.delivery] else {
            late.append(read)
            return
        }
        guard before.district == event.district else {
            foreign.append(read)
            return
        }
        var after = before
        let isNewFact = !before.facts.contains(event.fact)
        after.facts = before.facts.union(event.fact)
        if let attempt = event.attempt {
            after.attempts = max(before.attempts, attempt.number)
            after.lastAttemptAtMicroseconds = Self.latest(before.lastAttemptAtMicroseconds, attempt.atMicroseconds)
        }
        let isNewAnswer = event.response.map { Self.isLater(event, $0, than: before) } ?? false
        if isNewAnswer {
            after.response = event.response
            after.responseAtMicroseconds = event.occurredAtMicroseconds
        }
        guard after != before || isNewAnswer else {
            repeated += 1
            return
        }
        seq += 1
        after.changedAtMicroseconds = Self.latest(before.changedAtMicroseconds, event.occurredAtMicroseconds)
        after.lastSeq = seq
        if hasChanged.insert(event.delivery).inserted { changed.append(event.delivery) }
        states[event.delivery] = after
        changes.append(
            Change(
                delivery: event.delivery, seq: seq, previousSeq: before.lastSeq, event: event,
                recordedAtMicroseconds: read.recordedAtMicroseconds, newFact: isNewFact ? event.fact : nil,
                state: after))
    }

    /// How the batch moves deliveries between sets of facts: −1 where they left, +1 where they arrived.
    var countDeltas: [CountDelta] {
        var deltas: [CountKey: (district: DistrictID, n: Int64)] = [:]
        for delivery in changed {
            guard let before = initial[delivery], let after = states[delivery], before != after.facts else { continue }
            deltas[CountKey(blast: delivery.blast, facts: before), default: (after.district, 0)].n -= 1
            deltas[CountKey(blast: delivery.blast, facts: after.facts), default: (after.district, 0)].n += 1
        }
        return deltas.filter { $0.value.n != 0 }
            .map { CountDelta(blast: $0.key.blast, facts: $0.key.facts, district: $0.value.district, n: $0.value.n) }
            .sorted { ($0.blast, $0.facts.bits) < ($1.blast, $1.facts.bits) }
    }

    private static func latest(_ a: Int64?, _ b: Int64) -> Int64 { a.map { max($0, b) } ?? b }

    /// Of two answers given at the same moment the one with the greater octets wins: strings that differ only in their
    /// composition are equal to `String`, and then the first to arrive would win.
    private static func isLater(_ event: DeliveryEvent, _ response: String, than state: DeliveryState) -> Bool {
        guard let at = state.responseAtMicroseconds, let known = state.response else { return true }
        if event.occurredAtMicroseconds != at { return event.occurredAtMicroseconds > at }
        return known.utf8.lexicographicallyPrecedes(response.utf8)
    }

    private struct CountKey: Hashable {
        let blast: BlastID
        let facts: DeliveryFacts
    }
}

/// How many deliveries of a blast entered (or, negative, left) a set of facts.
struct CountDelta: Sendable, Hashable {
    let blast: BlastID
    let facts: DeliveryFacts
    let district: DistrictID
    let n: Int64
}
