internal import Synchronization

/// Whether the process can do its work now: a list of named checks, each with a deadline of its own.
///
/// A check is ready when it returns and failing when it throws or takes longer than its deadline. A check that hangs is
/// not started again while it hangs, so probing a sick process does not make it sicker. From the moment a graceful
/// shutdown begins the process is not ready.
public final class Readiness: Sendable {
    /// One reason why the process is not ready.
    public struct Failure: Sendable, Hashable {
        public let check: String
        public let reason: String
    }

    private struct Check: Sendable {
        let name: String
        let deadline: Duration
        let body: @Sendable () async throws -> Void
        var isRunning = false
    }

    private struct State {
        var checks: [Check] = []
        var isShuttingDown = false
    }

    private let state = Mutex(State())

    public init() {}

    /// Adds a check. What it throws is shown to operators on /readyz: it must not carry addresses or secrets.
    public func add(
        _ name: String, deadline: Duration = .seconds(2), check: @escaping @Sendable () async throws -> Void
    ) {
        state.withLock { $0.checks.append(Check(name: name, deadline: deadline, body: check)) }
    }

    func beginShutdown() {
        state.withLock { $0.isShuttingDown = true }
    }

    /// Runs all checks at once; empty when the process is ready.
    public func failures() async -> [Failure] {
        let (count, isShuttingDown) = state.withLock { ($0.checks.count, $0.isShuttingDown) }
        if isShuttingDown { return [Failure(check: "shutdown", reason: "the process is shutting down")] }
        return await withTaskGroup(of: (Int, Failure?).self) { group in
            for index in 0..<count { group.addTask { (index, await self.run(index)) } }
            var found: [(Int, Failure)] = []
            for await (index, failure) in group {
                if let failure { found.append((index, failure)) }
            }
            return found.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    private func run(_ index: Int) async -> Failure? {
        let (check, wasRunning) = state.withLock { state in
            let wasRunning = state.checks[index].isRunning
            state.checks[index].isRunning = true
            return (state.checks[index], wasRunning)
        }
        if wasRunning { return Failure(check: check.name, reason: "an earlier check is still running") }
        let reason: String? = await withCheckedContinuation { continuation in
            let answer = FirstAnswer(continuation)
            let work = Task {
                let outcome: String?
                do {
                    try await check.body()
                    outcome = nil
                } catch {
                    outcome = String(String(describing: error).prefix(300))
                }
                self.state.withLock { $0.checks[index].isRunning = false }
                answer.give(outcome)
            }
            let timer = Task {
                try await Task.sleep(for: check.deadline)
                answer.give("took longer than \(DurationText.print(check.deadline))")
                work.cancel()
            }
            answer.whenGiven { timer.cancel() }
        }
        return reason.map { Failure(check: check.name, reason: $0) }
    }
}

/// Resumes a continuation with the first of several answers.
private final class FirstAnswer: Sendable {
    private struct State {
        var continuation: CheckedContinuation<String?, Never>?
        var afterwards: (@Sendable () -> Void)?
    }

    private let state: Mutex<State>

    init(_ continuation: CheckedContinuation<String?, Never>) {
        state = Mutex(State(continuation: continuation))
    }

    func give(_ answer: String?) {
        let (continuation, afterwards) = state.withLock { state in
            defer {
                state.continuation = nil
                state.afterwards = nil
            }
            return (state.continuation, state.afterwards)
        }
        continuation?.resume(returning: answer)
        afterwards?()
    }

    func whenGiven(_ action: @escaping @Sendable () -> Void) {
        let isLate = state.withLock { state in
            guard state.continuation != nil else { return true }
            state.afterwards = action
            return false
        }
        if isLate { action() }
    }
}
