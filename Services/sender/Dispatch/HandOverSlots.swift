import Synchronization

/// How many messages may be between WIRE and their durable outcome: as many as there are connections, less those of
/// relays that cannot be used.
///
/// That number bounds what a killed process leaves in doubt, so a slot is only given back when the outcome is
/// committed. Emergency waits in front of general, otherwise first come first served.
final class HandOverSlots: Sendable {
    private struct Waiter {
        let wanted: Int
        let isEmergency: Bool
        let continuation: CheckedContinuation<Int, Never>
    }

    private struct State {
        var limit: Int
        var inUse = 0
        var isClosed = false
        var waiters: [Waiter] = []
        var idleWaiters: [CheckedContinuation<Void, Never>] = []

        mutating func grant() -> [(Waiter, Int)] {
            var grants: [(Waiter, Int)] = []
            while inUse < limit, !waiters.isEmpty {
                let waiter = waiters.removeFirst()
                let granted = min(waiter.wanted, limit - inUse)
                inUse += granted
                grants.append((waiter, granted))
            }
            return grants
        }
    }

    let capacity: Int
    private let state: Mutex<State>

    init(capacity: Int) {
        self.capacity = capacity
        state = Mutex(State(limit: capacity))
    }

    var inUse: Int { state.withLock { $0.inUse } }

    /// Waits until at least one slot is free and takes up to `wanted`. Returns 0 when the process is stopping.
    func acquire(upTo wanted: Int, isEmergency: Bool) async -> Int {
        await withCheckedContinuation { continuation in
            let granted = state.withLock { state -> Int? in
                if state.isClosed { return 0 }
                guard state.inUse < state.limit, state.waiters.isEmpty || isEmergency else {
                    let waiter = Waiter(wanted: wanted, isEmergency: isEmergency, continuation: continuation)
                    let place = isEmergency ? state.waiters.firstIndex { !$0.isEmergency } : nil
                    state.waiters.insert(waiter, at: place ?? state.waiters.endIndex)
                    return nil
                }
                let granted = min(wanted, state.limit - state.inUse)
                state.inUse += granted
                return granted
            }
            if let granted { continuation.resume(returning: granted) }
        }
    }

    func release(_ count: Int) {
        guard count > 0 else { return }
        let (grants, idle) = state.withLock { state -> ([(Waiter, Int)], [CheckedContinuation<Void, Never>]) in
            state.inUse -= count
            precondition(state.inUse >= 0, "more slots came back than were taken")
            let grants = state.grant()
            guard state.inUse == 0 else { return (grants, []) }
            let idle = state.idleWaiters
            state.idleWaiters = []
            return (grants, idle)
        }
        for (waiter, granted) in grants { waiter.continuation.resume(returning: granted) }
        for waiter in idle { waiter.resume() }
    }

    /// From now on at most so many at once, within the capacity; who is in already stays.
    func limit(to count: Int) {
        let grants = state.withLock { state in
            state.limit = min(count, capacity)
            return state.isClosed ? [] : state.grant()
        }
        for (waiter, granted) in grants { waiter.continuation.resume(returning: granted) }
    }

    /// Lets nobody in any more; those who wait get 0.
    func close() {
        let waiters = state.withLock { state in
            defer { state.waiters = [] }
            state.isClosed = true
            return state.waiters
        }
        for waiter in waiters { waiter.continuation.resume(returning: 0) }
    }

    /// Returns true once no slot is in use, false when that took longer than `bound`.
    func drain(within bound: Duration) async -> Bool {
        let deadline = ContinuousClock.now + bound
        let timer = Task {
            try await Task.sleep(until: deadline)
            for waiter in self.takeIdleWaiters() { waiter.resume() }
        }
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                if state.inUse == 0 || ContinuousClock.now >= deadline { return true }
                state.idleWaiters.append(continuation)
                return false
            }
            if isOver { continuation.resume() }
        }
        timer.cancel()
        return inUse == 0
    }

    private func takeIdleWaiters() -> [CheckedContinuation<Void, Never>] {
        state.withLock { state in
            defer { state.idleWaiters = [] }
            return state.idleWaiters
        }
    }
}
