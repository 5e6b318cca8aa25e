internal import Synchronization

/// Watches that a loop keeps turning.
///
/// The loop calls ``turn()`` once per round, also when it found nothing to do. When it has not turned for the limit, the
/// process is not ready and `rollcall_loop_turn_age_seconds{loop}` says since when. The watch begins when it is made.
public final class StuckLoop: Sendable {
    private static let origin = ContinuousClock.now
    private let name: String
    private let limit: Duration
    private let lastTurn: Atomic<Int64>

    public init(_ name: String, limit: Duration = .seconds(30), readiness: Readiness, metrics: Metrics = .shared) {
        self.name = name
        self.limit = limit
        lastTurn = Atomic(Self.milliseconds())
        metrics.gauge(
            "rollcall_loop_turn_age_seconds", help: "Time since the loop last turned.", labels: ["loop": name]
        ) { [weak self] in
            self.map { $0.age / .seconds(1) } ?? 0
        }
        readiness.add("loop \(name)") { [weak self] in
            guard let self, self.age > self.limit else { return }
            throw Stuck(age: self.age)
        }
    }

    /// The loop has begun another round.
    public func turn() {
        lastTurn.store(Self.milliseconds(), ordering: .relaxed)
    }

    /// Time since the last turn.
    public var age: Duration { .milliseconds(Self.milliseconds() - lastTurn.load(ordering: .relaxed)) }

    private static func milliseconds() -> Int64 {
        Int64((ContinuousClock.now - origin) / .milliseconds(1))
    }

    private struct Stuck: Error, CustomStringConvertible {
        let age: Duration
        var description: String { "has not turned for \(age.components.seconds) s" }
    }
}
