import Runtime
import Synchronization

/// Hits on their way to the database, written in batches.
///
/// A picture or a redirect waits for its hit to be stored, but never longer than `patience`: it is answered whatever
/// the database does. So a killed process loses only hits that were not answered, which a browser asks for again, and
/// those that had to be answered early.
final class HitBuffer: Sendable {
    private struct State {
        var waiting: [Hit] = []
        /// How many hits were ever taken in, and how many of them, the oldest, are done with.
        var added: UInt64 = 0
        var done: UInt64 = 0
        var watchers: [UInt64: AsyncStream<Void>.Continuation] = [:]
    }

    private let capacity: Int
    private let patience: Duration
    private let metrics: IngesterMetrics
    private let state = Mutex(State())

    init(capacity: Int = 20_000, patience: Duration = .milliseconds(200), metrics: IngesterMetrics) {
        self.capacity = capacity
        self.patience = patience
        self.metrics = metrics
    }

    /// Keeps the hit, or counts it as lost when the buffer is full, and waits a little for it to be stored.
    func keep(_ hit: Hit) async {
        metrics.countHit(hit.kind)
        let (stored, watcher) = AsyncStream<Void>.makeStream()
        let ticket = state.withLock { state -> UInt64? in
            guard state.waiting.count < capacity else { return nil }
            state.waiting.append(hit)
            state.added += 1
            state.watchers[state.added] = watcher
            return state.added
        }
        guard let ticket else {
            metrics.hitsLost.increment()
            return
        }
        let patience = patience
        await withTaskGroup(of: Void.self) { group in
            group.addTask { for await _ in stored {} }
            group.addTask { try? await Task.sleep(for: patience) }
            await group.next()
            group.cancelAll()
        }
        _ = state.withLock { $0.watchers.removeValue(forKey: ticket) }
    }

    /// Removes and returns the oldest hits.
    func take(_ max: Int) -> [Hit] {
        state.withLock { state in
            let taken = Array(state.waiting.prefix(max))
            state.waiting.removeFirst(taken.count)
            return taken
        }
    }

    /// The oldest `count` hits are done with: stored, or counted as lost.
    func finish(_ count: Int) {
        let watchers = state.withLock { state in
            let first = state.done + 1
            state.done += UInt64(count)
            return (first..<state.done + 1).compactMap { state.watchers.removeValue(forKey: $0) }
        }
        for watcher in watchers { watcher.finish() }
    }

    /// Gives back what could not be written; the buffer may exceed its capacity by this much.
    func putBack(_ hits: [Hit]) {
        state.withLock { $0.waiting.insert(contentsOf: hits, at: 0) }
    }
}
