import Synchronization

extension LocalStack {
    /// Runs `body` on a stack of its own, with every topic. Whether it returns or throws, nothing of it runs on.
    public static func with(
        _ name: String, _ body: (LocalStack, StartedProcesses) async throws -> Void
    ) async throws {
        let stack = try await start(name)
        let processes = StartedProcesses()
        do {
            try await stack.createTopics()
            try await body(stack, processes)
        } catch {
            await processes.killAll()
            try await stack.stop()
            throw error
        }
        await processes.killAll()
        try await stack.stop()
    }
}

/// What a test has started, so that nothing of it runs on when the test fails.
public final class StartedProcesses: Sendable {
    private let all = Mutex<[ServiceProcess]>([])

    public func keep(_ process: ServiceProcess) -> ServiceProcess {
        all.withLock { $0.append(process) }
        return process
    }

    func killAll() async {
        for process in all.withLock({ $0 }) where process.isRunning { try? await process.kill() }
    }
}
