public import Logging

/// What a program gets to build its services from.
public struct ProgramContext: Sendable {
    public let name: String
    public let settings: Settings
    public let logger: Logger
    public let metrics: Metrics
    public let readiness: Readiness

    public init(name: String, settings: Settings, logger: Logger, metrics: Metrics, readiness: Readiness) {
        self.name = name
        self.settings = settings
        self.logger = logger
        self.metrics = metrics
        self.readiness = readiness
    }

    /// A watch over one of the program's loops; see ``StuckLoop``.
    public func stuckLoop(_ name: String, limit: Duration = .seconds(30)) -> StuckLoop {
        StuckLoop(name, limit: limit, readiness: readiness, metrics: metrics)
    }
}
