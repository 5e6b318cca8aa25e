import Logging
import Runtime
import ServiceLifecycle

/// Work that is done again and again until the process stops, and survives the outages of what it depends on.
struct PeriodicWork: Service {
    let name: String
    let interval: Duration
    let stuck: StuckLoop
    let logger: Logger
    /// Returns true when there is more to do at once.
    let work: @Sendable () async throws -> Bool
    var atStop: @Sendable () async -> Void = {}

    func run() async throws {
        let outage = OutageLog(name, logger: logger)
        var backoff = Backoff(initial: .milliseconds(100), maximum: .seconds(5))
        while !Task.isShuttingDownGracefully {
            try Task.checkCancellation()
            stuck.turn()
            let wait: Duration
            do {
                let isMore = try await work()
                outage.worked()
                backoff.reset()
                if isMore { continue }
                wait = interval
            } catch let error as CancellationError {
                throw error
            } catch {
                outage.failed(error)
                wait = backoff.next()
            }
            if try await pause(for: wait) { break }
        }
        await atStop()
    }
}
