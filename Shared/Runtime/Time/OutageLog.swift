public import Logging
internal import Synchronization

/// Logs once when something begins to fail and once when it works again, however often it is tried between.
public final class OutageLog: Sendable {
    private let what: String
    private let logger: Logger
    private let began = Mutex<ContinuousClock.Instant?>(nil)

    /// - Parameter what: what fails and works, as the beginning of a sentence.
    public init(_ what: String, logger: Logger) {
        self.what = what
        self.logger = logger
    }

    /// A cancellation is no failure.
    public func failed(_ error: any Error) {
        if error is CancellationError { return }
        let isNew = began.withLock { began in
            guard began == nil else { return false }
            began = .now
            return true
        }
        if isNew { logger.error("\(what) fails; it is tried again until it works", error: error) }
    }

    public func worked() {
        let begin = began.withLock { began in
            defer { began = nil }
            return began
        }
        guard let begin else { return }
        let seconds = begin.duration(to: .now).components.seconds
        logger.notice("\(what) works again", metadata: ["outage_s": .stringConvertible(seconds)])
    }

    /// Passes on what `body` returns or throws.
    public func watch<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            let value = try await body()
            worked()
            return value
        } catch {
            failed(error)
            throw error
        }
    }
}
