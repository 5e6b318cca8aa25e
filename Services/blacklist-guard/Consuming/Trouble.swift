import Logging
import Runtime

/// Keeps a loop's outages to two log records each, its beginning and its end, and paces the attempts between.
struct Trouble {
    private let loop: String
    private let logger: Logger
    private var backoff = Backoff(initial: .milliseconds(100), maximum: .seconds(3))
    private var isOngoing = false

    init(loop: String, logger: Logger) {
        self.loop = loop
        self.logger = logger
    }

    /// Returns how long to wait before the next attempt.
    mutating func happened(_ error: any Error) -> Duration {
        if !isOngoing {
            logger.warning("interrupted; trying again until it works", error: error, metadata: ["loop": "\(loop)"])
        }
        isOngoing = true
        return backoff.next()
    }

    mutating func passed() {
        if isOngoing { logger.info("working again", metadata: ["loop": "\(loop)"]) }
        isOngoing = false
        backoff.reset()
    }
}
