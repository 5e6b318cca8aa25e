import Logging
import Runtime
import Synchronization

/// Holds new messages back while the relay cannot be reached, with growing pauses: without it an outage of a minute
/// would run a whole blast through the attempts table.
final class RelayHealth: Sendable {
    private struct State {
        var backoff = Backoff(initial: .milliseconds(250), maximum: .seconds(10))
        var blockedUntil: ContinuousClock.Instant?
    }

    private let logger: Logger
    private let state = Mutex(State())

    init(logger: Logger) { self.logger = logger }

    /// How long to wait before the relay is tried again; nil when there is no reason to.
    var pauseNeeded: Duration? {
        state.withLock { state in
            guard let end = state.blockedUntil, end > .now else { return nil }
            return ContinuousClock.now.duration(to: end)
        }
    }

    var isTroubled: Bool { state.withLock { $0.blockedUntil != nil } }

    /// Several failures of one outage that arrive together count once.
    func failed(_ reason: String) {
        let isNew = state.withLock { state in
            if let end = state.blockedUntil, end > .now { return false }
            let isNew = state.blockedUntil == nil
            state.blockedUntil = .now + state.backoff.next()
            return isNew
        }
        if isNew { logger.error("the SMTP relay cannot be used; messages wait", metadata: ["reason": "\(reason)"]) }
    }

    func worked() {
        let isOver = state.withLock { state in
            guard state.blockedUntil != nil else { return false }
            state.blockedUntil = nil
            state.backoff.reset()
            return true
        }
        if isOver { logger.notice("the SMTP relay works again") }
    }
}
