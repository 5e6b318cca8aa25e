import NIOCore
import NIOPosix
import Synchronization

/// Runs tasks on the event loop that their connections live on, so that a message changes threads when it is handed over
/// and not at every step. What becomes ready together runs together. Tasks run here must never block.
final class EventLoopExecutor: TaskExecutor {
    private struct State {
        var ready: [UnownedJob] = []
        /// Room for the next ones.
        var spare: [UnownedJob] = []
        var isScheduled = false
    }

    private let eventLoop: any EventLoop
    private let state = Mutex(State())

    /// On some event loop of the process.
    static let shared = EventLoopExecutor(MultiThreadedEventLoopGroup.singleton.next())

    init(_ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    /// Calls `work` on the event loop after a while; it must not block either.
    func schedule(after delay: Duration, _ work: @escaping @Sendable () -> Void) {
        eventLoop.scheduleTask(in: TimeAmount(delay), work)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let isFirst = state.withLock { state in
            defer { state.isScheduled = true }
            state.ready.append(job)
            return !state.isScheduled
        }
        if isFirst { eventLoop.execute { self.runReady() } }
    }

    private func runReady() {
        var jobs = state.withLock { state in
            swap(&state.ready, &state.spare)
            defer { state.spare = [] }
            return state.spare
        }
        for job in jobs { unsafe job.runSynchronously(on: asUnownedTaskExecutor()) }
        jobs.removeAll(keepingCapacity: true)
        let isOver = state.withLock { [jobs] state in
            state.spare = jobs
            state.isScheduled = !state.ready.isEmpty
            return !state.isScheduled
        }
        if !isOver { eventLoop.execute { self.runReady() } }
    }
}
