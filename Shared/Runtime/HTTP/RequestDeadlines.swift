internal import Synchronization

/// Deadlines of the requests in hand, swept ten times a second: one timer for all of them, so that a request costs a
/// dictionary entry and no timer of its own.
final class RequestDeadlines: Sendable {
    private struct Entry {
        let deadline: ContinuousClock.Instant
        let action: @Sendable () -> Void
    }

    private struct State {
        var next: UInt64 = 0
        var entries: [UInt64: Entry] = [:]
    }

    private let state = Mutex(State())

    func add(after duration: Duration, action: @escaping @Sendable () -> Void) -> UInt64 {
        let deadline = ContinuousClock.now + duration
        return state.withLock { state in
            state.next += 1
            state.entries[state.next] = Entry(deadline: deadline, action: action)
            return state.next
        }
    }

    /// Forgets a deadline; false when it has passed already and its action ran.
    @discardableResult
    func remove(_ id: UInt64) -> Bool {
        state.withLock { $0.entries.removeValue(forKey: id) != nil }
    }

    func expire(now: ContinuousClock.Instant = .now) {
        let due = state.withLock { state in
            let due = state.entries.filter { $0.value.deadline <= now }
            for id in due.keys { state.entries[id] = nil }
            return due
        }
        for entry in due.values { entry.action() }
    }

    /// Sweeps until cancelled.
    func run() async {
        while (try? await Task.sleep(for: .milliseconds(100))) != nil { expire() }
    }
}
