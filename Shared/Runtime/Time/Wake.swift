public import Logging
internal import ServiceLifecycle

/// Wakes a publishing loop: at once when a row was committed here, and every few seconds for rows that somebody left
/// behind. Signals that come while the loop works are remembered as one.
public final class Wake: Sendable {
    private let signals: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    public init() {
        (signals, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    }

    public func signal() { continuation.yield() }

    /// Runs `publish` at every signal, again at once while it returns true, and again after a pause when it throws.
    /// Returns when the process is asked to stop, after one last run if a signal is waiting. For one loop only.
    ///
    /// - Parameter what: names the loop in the log of its outages.
    public func serve(
        _ what: String, every interval: Duration, stuck: StuckLoop, logger: Logger,
        publish: () async throws -> Bool
    ) async throws {
        let outage = OutageLog(what, logger: logger)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await everyInterval(interval) { self.signal() }
                self.continuation.finish()
            }
            var backoff = Backoff(initial: .milliseconds(100), maximum: .seconds(5))
            for await _ in signals {
                do {
                    while try await publish() { stuck.turn() }
                    stuck.turn()
                    outage.worked()
                    backoff.reset()
                } catch let error as CancellationError {
                    throw error
                } catch {
                    outage.failed(error)
                    if try await pause(for: backoff.next()) { break }
                    signal()
                }
            }
            try await group.waitForAll()
        }
    }
}
