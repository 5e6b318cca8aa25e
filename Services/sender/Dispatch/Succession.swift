import Delivery
import Runtime

/// Messages that a lane wants to put on the wire as soon as there are slots for them.
struct WireOffer: Sendable {
    let prepared: ArraySlice<Prepared>
    let blast: BlastID
    let token: LeaseToken
    let wire: Wire
    /// Puts on the wire what WIRE let through; called at once, on whichever thread has the answer. Must not block.
    let begin: @Sendable ([WireVerdict], ArraySlice<Prepared>, _ wiredAt: ContinuousClock.Instant) -> Void
}

/// What a lane got that asked for slots.
struct Admission: Sendable {
    /// How many of its messages hold one now; 0 when the process is stopping or the wait was too long.
    let slots: Int
    /// What WIRE said of them, after which they are on the wire; nil when it is still to be written.
    var wired: Result<WireResult, any Error>?
    /// Before WIRE was written.
    var since = ContinuousClock.now
}

/// Lanes whose messages take over slots in the statement that frees them. They work on the same blast.
struct Successor: Sendable {
    struct Part: Sendable {
        let offer: WireOffer
        let prepared: ArraySlice<Prepared>
        let admit: @Sendable (Admission) -> Void
    }

    /// Whose slots.
    let channel: Channel
    let blast: BlastID
    let token: LeaseToken
    let wire: Wire
    let parts: [Part]

    var slots: Int { parts.reduce(0) { $0 + $1.prepared.count } }
    var prepared: [Prepared] { parts.flatMap(\.prepared) }

    /// Begins what may go, and tells the lanes. An error leaves it to them to take back what they offered.
    func admit(_ wired: Result<WireResult, any Error>, since: ContinuousClock.Instant) {
        for part in parts {
            var own = wired
            if case .success(.decided(let verdicts)) = wired {
                let numbers = Set(part.prepared.map(\.entry.recipientNumber))
                let theirs = parts.count == 1 ? verdicts : verdicts.filter { numbers.contains($0.recipientNumber) }
                part.offer.begin(theirs, part.prepared, since)
                own = .success(.decided(theirs))
            }
            part.admit(Admission(slots: part.prepared.count, wired: own, since: since))
        }
    }
}
