import Synchronization

/// How many messages each relay with a rate may have yet, and how relays answer to the pace.
///
/// `SendRates` adds what it took from the rows that all senders share; choosing a relay spends it. A message that finds
/// no other way is handed to a relay that has nothing left, which is taken off what comes next. Neither credit nor debt is
/// ever more than a second's worth.
final class RelayPace: Sendable {
    /// What a relay did with messages since it was last asked for.
    struct Seen: Sendable, Equatable {
        var offered = 0
        var refused = 0
    }

    private struct Limit {
        var most: Int
        var left = 0
    }

    private struct State {
        var limits: [String: Limit] = [:]
        var seen: [String: Seen] = [:]
        var takenAt: [String: ContinuousClock.Instant] = [:]
    }

    private let state = Mutex(State())

    /// Replaces the rates; relays that are not named have none.
    func limit(to rates: [String: Double]) {
        state.withLock { state in
            state.limits = rates.reduce(into: [:]) { limits, rate in
                let most = max(1, Int(rate.value.rounded(.up)))
                let left = state.limits[rate.key]?.left ?? 0
                limits[rate.key] = Limit(most: most, left: min(most, max(-most, left)))
            }
        }
    }

    func isSpent(_ relay: String) -> Bool {
        state.withLock { state in state.limits[relay].map { $0.left <= 0 } ?? false }
    }

    func debt(of relay: String) -> Int { state.withLock { max(0, -($0.limits[relay]?.left ?? 0)) } }

    func add(_ n: Int, to relay: String) {
        state.withLock { state in
            guard let limit = state.limits[relay] else { return }
            state.limits[relay]?.left = min(max(limit.most, n), limit.left + n)
        }
    }

    func spend(_ relay: String) {
        state.withLock { state in
            guard let limit = state.limits[relay] else { return }
            state.limits[relay]?.left = max(-limit.most, limit.left - 1)
        }
    }

    /// A refusal is about our pace when the relay took a message within the second before. One that takes none is out of
    /// order, and slowing down would only make the time after it longer.
    func saw(_ relay: String, isTaken: Bool, asksForLess: Bool, at now: ContinuousClock.Instant) {
        state.withLock { state in
            if isTaken { state.takenAt[relay] = now }
            if asksForLess {
                guard let takenAt = state.takenAt[relay], takenAt.duration(to: now) <= .seconds(1) else { return }
                state.seen[relay, default: Seen()].refused += 1
            }
            state.seen[relay, default: Seen()].offered += 1
        }
    }

    func takeSeen() -> [String: Seen] {
        state.withLock { state in
            defer { state.seen = [:] }
            return state.seen
        }
    }
}
