import Logging
import Runtime

/// A loop's outages: two log records each, and growing pauses between the attempts.
struct Trouble {
    private let outage: OutageLog
    private var backoff = Backoff(initial: .milliseconds(100), maximum: .seconds(3))

    init(loop: String, logger: Logger) {
        outage = OutageLog("loop \(loop)", logger: logger)
    }

    /// Returns how long to wait before the next attempt.
    mutating func happened(_ error: any Error) -> Duration {
        outage.failed(error)
        return backoff.next()
    }

    mutating func passed() {
        outage.worked()
        backoff.reset()
    }
}
