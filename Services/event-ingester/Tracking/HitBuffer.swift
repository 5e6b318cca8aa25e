import Runtime
import Synchronization

/// Hits on their way to the database. Adding never waits: a pixel is answered whatever the database does.
final class HitBuffer: Sendable {
    private let capacity: Int
    private let metrics: IngesterMetrics
    private let waiting = Mutex<[Hit]>([])

    init(capacity: Int = 20_000, metrics: IngesterMetrics) {
        self.capacity = capacity
        self.metrics = metrics
    }

    /// Keeps the hit, or counts it as lost when the buffer is full.
    func add(_ hit: Hit) {
        metrics.countHit(hit.kind)
        let isKept = waiting.withLock { waiting in
            guard waiting.count < capacity else { return false }
            waiting.append(hit)
            return true
        }
        if !isKept { metrics.hitsLost.increment() }
    }

    /// Removes and returns the oldest hits.
    func take(_ max: Int) -> [Hit] {
        waiting.withLock { waiting in
            let taken = Array(waiting.prefix(max))
            waiting.removeFirst(taken.count)
            return taken
        }
    }

    /// Gives back what could not be written; the buffer may exceed its capacity by this much.
    func putBack(_ hits: [Hit]) {
        waiting.withLock { $0.insert(contentsOf: hits, at: 0) }
    }
}
