/// Growing, jittered pauses between attempts.
///
/// Each pause lies between half and all of a step that doubles from `initial` to `maximum`, so that many processes that
/// failed together do not come back together.
public struct Backoff: Sendable {
    private let initial: Duration
    private let maximum: Duration
    private var step: Duration

    public init(initial: Duration = .milliseconds(100), maximum: Duration = .seconds(10)) {
        precondition(initial > .zero && initial <= maximum, "a backoff needs 0 < initial ≤ maximum")
        self.initial = initial
        self.maximum = maximum
        step = initial
    }

    /// The next pause.
    public mutating func next() -> Duration {
        var generator = SystemRandomNumberGenerator()
        return next(using: &generator)
    }

    public mutating func next(using generator: inout some RandomNumberGenerator) -> Duration {
        defer { step = min(step * 2, maximum) }
        return step * Double.random(in: 0.5...1, using: &generator)
    }

    /// Back to the first step, after a success.
    public mutating func reset() {
        step = initial
    }
}
