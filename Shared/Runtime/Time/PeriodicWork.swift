public import Logging
public import ServiceLifecycle

/// Work that is done again and again until the process stops, and survives the outages of what it depends on.
public struct PeriodicWork: Service {
    private let name: String
    private let interval: Duration
    private let stuck: StuckLoop
    private let logger: Logger
    private let work: @Sendable () async throws -> Bool
    private let atStop: @Sendable () async -> Void

    /// - Parameters:
    ///   - name: names the work in the log of its outages.
    ///   - interval: the pause after `work` returned false.
    ///   - work: returns true when there is more to do at once.
    ///   - atStop: runs once when the process stops.
    public init(
        _ name: String, every interval: Duration, stuck: StuckLoop, logger: Logger,
        work: @escaping @Sendable () async throws -> Bool, atStop: @escaping @Sendable () async -> Void = {}
    ) {
        self.name = name
        self.interval = interval
        self.stuck = stuck
        self.logger = logger
        self.work = work
        self.atStop = atStop
    }

    public func run() async throws {
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
