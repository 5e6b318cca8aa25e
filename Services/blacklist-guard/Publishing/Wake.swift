import Logging
import Runtime
import ServiceLifecycle

/// Wakes a publishing loop: at once when a row was committed here, and every few seconds for rows that somebody left
/// behind. Signals that come while the loop works are remembered as one.
final class Wake: Sendable {
    private let signals: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() {
        (signals, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    }

    func signal() { continuation.yield() }

    /// Runs `publish` at every signal, again at once while it returns true, and again after a pause when it throws.
    /// Returns when the process is asked to stop, after one last run if a signal is waiting. For one loop only.
    func serve(
        _ name: String, every interval: Duration, stuck: StuckLoop, logger: Logger,
        publish: () async throws -> Bool
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await everyInterval(interval) { self.signal() }
                self.continuation.finish()
            }
            var trouble = Trouble(loop: name, logger: logger)
            for await _ in signals {
                do {
                    while try await publish() { stuck.turn() }
                    stuck.turn()
                    trouble.passed()
                } catch let error as CancellationError {
                    throw error
                } catch {
                    if try await pause(for: trouble.happened(error)) { break }
                    signal()
                }
            }
            try await group.waitForAll()
        }
    }
}
