import Foundation
import Glibc
import Logging
import ServiceLifecycle
import Synchronization
import Testing

@testable import Runtime

@Suite(.timeLimit(.minutes(10))) struct LifecycleTests {
    private struct Patient: Service {
        func run() async throws { try await gracefulShutdown() }
    }

    /// Does not listen to a graceful shutdown, only to cancellation.
    private struct Stubborn: Service {
        func run() async throws { try await Task.sleep(for: .seconds(3_600)) }
    }

    /// Listens to nothing until it is released.
    private final class Hanging: Service {
        let state = Mutex<(isReleased: Bool, waiting: CheckedContinuation<Void, Never>?)>((false, nil))

        func run() async throws {
            await withCheckedContinuation { continuation in
                let isReleased = state.withLock { state in
                    state.waiting = continuation
                    return state.isReleased
                }
                if isReleased { continuation.resume() }
            }
        }

        func free() {
            let waiting = state.withLock { state in
                state.isReleased = true
                return state.waiting
            }
            waiting?.resume()
        }
    }

    /// Tells that the group runs: a shutdown asked for earlier would start nothing.
    private struct Canary: Service {
        let sings: AsyncStream<Void>.Continuation

        func run() async throws {
            sings.yield()
            try await gracefulShutdown()
        }
    }

    private struct Short: Service {
        func run() async throws {}
    }

    /// Runs the services, asks them to stop as soon as they run and `ready` holds, and waits for the end.
    private func runAndStop(
        _ service: any Service, readiness: Readiness = Readiness(), grace: Duration = .seconds(3_600),
        afterGrace: Duration = .seconds(3_600), onOverrun: @escaping @Sendable () -> Void = {},
        when ready: @Sendable () -> Bool = { true }
    ) async throws {
        let (songs, sings) = AsyncStream.makeStream(of: Void.self)
        let group = ServiceProgram.group(
            [service, Canary(sings: sings)], readiness: readiness, grace: grace, signals: [], logger: .silent,
            afterGrace: afterGrace, onOverrun: onOverrun)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                defer { sings.finish() }
                try await group.run()
            }
            _ = await songs.first { _ in true }
            try await eventually { ready() }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
    }

    @Test func `a shutdown turns readiness off and ends patient services`() async throws {
        let readiness = Readiness()
        try await runAndStop(Patient(), readiness: readiness)
        #expect(await readiness.failures().map(\.check) == ["shutdown"])
    }

    @Test func `a service that ignores the shutdown is cancelled after the grace`() async throws {
        let overran = Mutex(false)
        let stubborn = Stubborn()
        await #expect(throws: CancellationError.self) {
            try await runAndStop(stubborn, grace: .milliseconds(50), onOverrun: { overran.withLock { $0 = true } })
        }
        #expect(overran.withLock { !$0 })
    }

    @Test func `a service that hangs even when cancelled meets the bound`() async throws {
        let hanging = Hanging()
        try? await runAndStop(
            hanging, grace: .milliseconds(20), afterGrace: .milliseconds(20), onOverrun: { hanging.free() })
        #expect(hanging.state.withLock { $0.isReleased })
    }

    @Test func `a service that ends by itself stops the program with an error`() async throws {
        let error = await #expect(throws: NeverEarly.EndedEarly.self) { try await runAndStop(Short()) }
        #expect(error?.description.contains("Short") == true)
    }

    @Test func `an interval loop ends promptly on shutdown and lets its body finish`() async throws {
        struct Looping: Service {
            let turn: @Sendable () -> Void
            func run() async throws { try await everyInterval(.seconds(3_600)) { turn() } }
        }
        let turns = Atomic<Int>(0)
        try await runAndStop(
            Looping { turns.wrappingAdd(1, ordering: .relaxed) }, when: { turns.load(ordering: .relaxed) == 1 })
        #expect(turns.load(ordering: .relaxed) == 1)
    }

    @Test func `backoff grows to its maximum, stays within bounds and starts over`() {
        var backoff = Backoff(initial: .milliseconds(100), maximum: .seconds(1))
        let pauses = (0..<6).map { _ in backoff.next() }
        for (pause, step) in zip(pauses, [100, 200, 400, 800, 1_000, 1_000]) {
            #expect(pause >= .milliseconds(step) / 2 && pause <= .milliseconds(step))
        }
        backoff.reset()
        #expect(backoff.next() <= .milliseconds(100))
    }
}
