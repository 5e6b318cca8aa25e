import Synchronization

/// Monotonic time that a test puts forward.
final class JumpingClock: Sendable {
    private let ahead = Mutex(Duration.zero)

    var now: ContinuousClock.Instant { .now + ahead.withLock { $0 } }

    func jump(to time: ContinuousClock.Instant) {
        ahead.withLock { $0 = ContinuousClock.now.duration(to: time) }
    }
}
