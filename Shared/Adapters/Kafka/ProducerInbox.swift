internal import Synchronization

/// What callers hand to the producer's thread.
///
/// The waker is used only under the lock, and taken away under the lock before the client it belongs to goes.
final class ProducerInbox: Sendable {
    struct Submission {
        let records: [ProducerRecord]
        let continuation: CheckedContinuation<Void, any Error>
    }

    struct ClusterIDRequest {
        let timeout: Duration
        let continuation: CheckedContinuation<String?, any Error>
    }

    struct Contents {
        var submissions: [Submission] = []
        var clusterIDRequests: [ClusterIDRequest] = []
        var closeDeadline: ContinuousClock.Instant?
    }

    private struct State {
        var contents = Contents()
        var waker: ProducerWaker?
        /// Set once nothing is accepted any more: what callers are told.
        var refusal: KafkaError?
        var isFinished = false
        var closers: [CheckedContinuation<Void, Never>] = []
        var lastError: String?
    }

    private let state = Mutex(State())

    var lastError: String? { state.withLock { $0.lastError } }

    // MARK: For callers

    func submit(_ submission: Submission) {
        let refusal = state.withLock { state in
            if let refusal = state.refusal { return Optional(refusal) }
            let isFirst = state.contents.submissions.isEmpty
            state.contents.submissions.append(submission)
            if isFirst { state.waker?.wake() }
            return nil
        }
        if let refusal { submission.continuation.resume(throwing: refusal) }
    }

    func submit(_ request: ClusterIDRequest) {
        let refusal = state.withLock { state in
            if let refusal = state.refusal { return Optional(refusal) }
            state.contents.clusterIDRequests.append(request)
            state.waker?.wake()
            return nil
        }
        if let refusal { request.continuation.resume(throwing: refusal) }
    }

    /// Refuses new submissions from now on and lets the thread end at the deadline.
    func requestClose(by deadline: ContinuousClock.Instant) {
        state.withLock { state in
            state.refusal = state.refusal ?? KafkaError.closed("producer")
            state.contents.closeDeadline = min(deadline, state.contents.closeDeadline ?? deadline)
            state.waker?.wake()
        }
    }

    func waitUntilFinished() async {
        await withCheckedContinuation { continuation in
            let isFinished = state.withLock { state in
                if !state.isFinished { state.closers.append(continuation) }
                return state.isFinished
            }
            if isFinished { continuation.resume() }
        }
    }

    /// Releases everyone who waits for the end.
    func finish() {
        let closers = state.withLock { state in
            state.isFinished = true
            defer { state.closers = [] }
            return state.closers
        }
        for closer in closers { closer.resume() }
    }

    // MARK: For the producer's thread

    func attach(_ waker: ProducerWaker?) {
        state.withLock { $0.waker = waker }
    }

    func note(_ error: String) {
        state.withLock { $0.lastError = error }
    }

    /// Everything handed in since the last call; the close deadline stays.
    func take() -> Contents {
        state.withLock { state in
            defer { state.contents = Contents(closeDeadline: state.contents.closeDeadline) }
            return state.contents
        }
    }

    /// Refuses everything from now on for this reason, and returns what nobody will look at any more.
    func refuse(_ error: KafkaError) -> Contents {
        state.withLock { state in
            state.refusal = state.refusal ?? error
            state.waker = nil
            defer { state.contents = Contents() }
            return state.contents
        }
    }
}
