internal import Foundation
internal import Logging
internal import ServiceLifecycle

/// Turns readiness off when a shutdown begins, and ends the process when the shutdown takes longer than its bound,
/// whatever hangs: a thread of its own waits, because the cooperative pool may be what hangs.
struct ShutdownBound: Service {
    let readiness: Readiness
    let bound: Duration
    let logger: Logger
    let onOverrun: @Sendable () -> Void

    func run() async throws {
        try await gracefulShutdown()
        readiness.beginShutdown()
        logger.info("stopping")
        let thread = Thread { [bound, logger, onOverrun] in
            Thread.sleep(forTimeInterval: bound / .seconds(1))
            logger.critical("shutdown took longer than its bound; ending the process")
            onOverrun()
        }
        thread.name = "shutdown"
        thread.start()
    }
}

/// A service that must run until it is told to stop: ending by itself is an error.
struct NeverEarly: Service {
    let service: any Service

    func run() async throws {
        try await service.run()
        if !Task.isShuttingDownGracefully && !Task.isCancelled {
            throw EndedEarly(service: String(describing: type(of: service)))
        }
    }

    struct EndedEarly: Error, CustomStringConvertible {
        let service: String
        var description: String { "\(service) ended although nobody asked it to" }
    }
}
