import NIOCore
import Synchronization

/// Hands elements to a few workers, in batches. Its size is bounded by the slots of `Reporter`.
final class WorkQueue<Element: Sendable>: Sendable {
    private struct State {
        var elements = CircularBuffer<Element>()
        var sleepers: [CheckedContinuation<Void, Never>] = []
        var isClosed = false
    }

    private let state = Mutex(State())

    func append(_ element: Element) {
        state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.elements.append(element)
            return state.sleepers.popLast()
        }?.resume()
    }

    /// Workers get what is left and then nil.
    func close() {
        let sleepers = state.withLock { state in
            state.isClosed = true
            defer { state.sleepers = [] }
            return state.sleepers
        }
        for sleeper in sleepers { sleeper.resume() }
    }

    /// Waits for a first element, then `gather` for more, and takes up to `most`.
    func next(upTo most: Int, gather: Duration = .zero) async -> [Element]? {
        while true {
            let (batch, isClosed) = take(most, unlessFewerThan: gather > .zero ? most : 1)
            if let batch { return batch }
            if isClosed { return nil }
            if !isEmpty {
                try? await Task.sleep(for: gather)
                if let batch = take(most, unlessFewerThan: 1).0 { return batch }
                continue
            }
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                let isAwake = state.withLock { state in
                    if state.isClosed || !state.elements.isEmpty { return true }
                    state.sleepers.append(continuation)
                    return false
                }
                if isAwake { continuation.resume() }
            }
        }
    }

    private var isEmpty: Bool { state.withLock { $0.elements.isEmpty } }

    private func take(_ most: Int, unlessFewerThan least: Int) -> ([Element]?, Bool) {
        state.withLock { state in
            let enough = state.isClosed ? 1 : least
            guard state.elements.count >= enough else { return (nil, state.isClosed) }
            let count = min(most, state.elements.count)
            let batch = Array(state.elements.prefix(count))
            state.elements.removeFirst(count)
            return (batch, state.isClosed)
        }
    }
}
