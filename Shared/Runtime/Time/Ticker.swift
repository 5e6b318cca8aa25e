internal import ServiceLifecycle

/// Pauses, and tells whether a graceful shutdown ended the pause.
///
/// Returns false after the whole duration, true as soon as the process is asked to stop. Throws `CancellationError` when
/// the task is cancelled.
public func pause(for duration: Duration) async throws -> Bool {
    if Task.isShuttingDownGracefully { return true }
    do {
        try await cancelWhenGracefulShutdown { try await Task.sleep(for: duration) }
        return Task.isShuttingDownGracefully
    } catch is CancellationError where !Task.isCancelled {
        return true
    }
}

/// Runs `body` at once and then again and again, `interval` after each end, until the process is asked to stop.
///
/// A graceful shutdown ends the pause at once but lets a running `body` finish. An error thrown by `body` ends the loop.
public func everyInterval(_ interval: Duration, _ body: () async throws -> Void) async throws {
    while !Task.isShuttingDownGracefully {
        try Task.checkCancellation()
        try await body()
        if try await pause(for: interval) { return }
    }
}
