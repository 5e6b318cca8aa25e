internal import BlockingExecutor
internal import Dispatch

/// The producer's thread: hands submitted records to librdkafka, sleeps until there are delivery reports or new
/// submissions, and resumes the callers whose records are all acknowledged.
actor ProducerLoop {
    private static let parkedRetryInterval = Duration.milliseconds(250)
    private static let idleWait = Duration.seconds(1)
    private static let clusterCheckInterval = Duration.seconds(1)
    /// The broker no longer takes anything under this producer's id: librdkafka does not count these as fatal and would
    /// be refused from then on.
    private static let endsProducerID: Set<KafkaError.Code> = [
        .invalidProducerEpoch, .unknownProducerID, .producerFenced,
    ]
    private static let purgeWait = Duration.milliseconds(500)
    private static let destroyWait = Duration.seconds(2)

    private let thread: DedicatedThread
    private let properties: ClientProperties
    private let inbox: ProducerInbox
    /// Records for a topic that does not exist wait for it, instead of failing.
    private let waitsForTopics: Bool
    private var handle: RdkafkaProducerHandle?
    private var pending = PendingRecords()
    private var nextParkedRetry = ContinuousClock.now
    private var clusterID: String?
    private var nextClusterCheck = ContinuousClock.now

    nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe thread.asUnownedSerialExecutor() }

    init(_ properties: ClientProperties, waitsForTopics: Bool, inbox: ProducerInbox) throws {
        self.properties = properties
        self.waitsForTopics = waitsForTopics
        self.inbox = inbox
        handle = try RdkafkaProducerHandle(properties)
        thread = DedicatedThread(name: "kafka-producer")
    }

    /// Runs until a close is requested, on this actor's own thread.
    func run() {
        inbox.attach(handle?.waker)
        while true {
            let contents = inbox.take()
            for submission in contents.submissions { pending.add(submission) }
            answer(contents.clusterIDRequests)
            if let failure = clusterReplacement(), !replaceClient(failure) { break }
            produceReady()
            retryParked()
            if let deadline = contents.closeDeadline, pending.isEmpty || deadline <= .now { break }
            let event = poll(within: wait(until: contents.closeDeadline))
            guard case .fatal(let reason) = event else { continue }
            let failure = KafkaError(
                code: .fatal, reason: "the Kafka producer failed fatally and was replaced: \(reason)")
            guard replaceClient(failure) else { break }
        }
        shutDown()
    }

    // MARK: Producing

    private func produceReady() {
        while let (reference, record) = pending.nextReady() {
            switch produce(record, reference) {
            case .queueFull: return
            case .accepted: pending.removeReady()
            case .refused(let error):
                pending.removeReady()
                refuse(reference, error)
            }
        }
    }

    private func retryParked() {
        guard pending.hasParked, nextParkedRetry <= .now else { return }
        nextParkedRetry = .now + Self.parkedRetryInterval
        do {
            try handle?.refreshMetadata(within: Self.parkedRetryInterval)
        } catch {
            inbox.note("\(error)")
            return
        }
        for topic in pending.parkedTopics {
            parked: while let (reference, record) = pending.nextParked(of: topic) {
                switch produce(record, reference) {
                case .queueFull: return
                case .accepted: pending.removeParked(of: topic)
                case .refused(let error):
                    if isMissingTopic(error) { break parked }
                    pending.removeParked(of: topic)
                    refuse(reference, error)
                }
            }
        }
    }

    private func produce(_ record: ProducerRecord, _ reference: PendingRecords.Reference)
        -> RdkafkaProducerHandle.Outcome
    {
        handle?.produce(record, reference: reference.rawValue) ?? .refused(KafkaError.closed("producer"))
    }

    private func refuse(_ reference: PendingRecords.Reference, _ error: KafkaError) {
        if waitsForTopics, isMissingTopic(error) {
            inbox.note(error.description)
            pending.park(reference)
        } else if let finished = pending.settle(reference, error.forProducerCaller) {
            resume(finished)
        }
    }

    private func isMissingTopic(_ error: KafkaError) -> Bool {
        [.unknownTopic, .unknownTopicOrPartition, .unknownPartition].contains(error.code)
    }

    // MARK: Delivery reports

    private func poll(within timeout: Duration) -> RdkafkaProducerHandle.Event {
        guard handle != nil else { return .fatal("no client") }
        var reports: [(PendingRecords.Reference, KafkaError?)] = []
        let event = handle?.poll(within: timeout) { reference, error in
            reports.append((PendingRecords.Reference(rawValue: reference), error))
        }
        for (reference, error) in reports {
            if let error {
                refuse(reference, error)
            } else if let finished = pending.settle(reference, nil) {
                resume(finished)
            }
        }
        if case .message(let message) = event { inbox.note(message) }
        if let refusal = reports.lazy.compactMap(\.1).first(where: { Self.endsProducerID.contains($0.code) }) {
            return .fatal(refusal.reason)
        }
        return event ?? .nothing
    }

    private func wait(until closeDeadline: ContinuousClock.Instant?) -> Duration {
        var wait = Self.idleWait
        if pending.hasParked { wait = min(wait, nextParkedRetry - .now) }
        if let closeDeadline { wait = min(wait, closeDeadline - .now) }
        return wait
    }

    private func resume(_ finished: PendingRecords.Finished) {
        if let failure = finished.failure {
            finished.submission.continuation.resume(throwing: failure)
        } else {
            finished.submission.continuation.resume()
        }
    }

    private func answer(_ requests: [ProducerInbox.ClusterIDRequest]) {
        guard let timeout = requests.map(\.timeout).max() else { return }
        let answer = Result { try handle?.clusterID(within: timeout) }
        nextClusterCheck = .now
        for request in requests { request.continuation.resume(with: answer) }
    }

    // MARK: Ends

    /// A cluster under another id has never heard of this producer's id. Apache Kafka takes the producer over; the
    /// local broker refuses it for ever, while librdkafka tries again without a word.
    private func clusterReplacement() -> KafkaError? {
        guard nextClusterCheck <= .now else { return nil }
        nextClusterCheck = .now + Self.clusterCheckInterval
        guard let current = handle?.knownClusterID() else { return nil }
        let previous = clusterID
        clusterID = current
        guard let previous, previous != current else { return nil }
        return KafkaError(
            code: .unknownProducerID,
            reason: "the Kafka cluster \(previous) was replaced by \(current), and so was the producer")
    }

    /// After a fatal error an idempotent producer can never guarantee order again; only a new one can.
    private func replaceClient(_ failure: KafkaError) -> Bool {
        inbox.note(failure.reason)
        inbox.attach(nil)
        handle?.purge()
        handle = nil
        for finished in pending.failAll(failure) { resume(finished) }
        do {
            handle = try RdkafkaProducerHandle(properties)
            inbox.attach(handle?.waker)
            return true
        } catch {
            refuseEverything(
                KafkaError(code: .fatal, reason: "cannot replace the failed Kafka producer: \(error)", isFatal: true))
            return false
        }
    }

    private func shutDown() {
        if !pending.isEmpty, handle != nil {
            handle?.purge()
            let deadline = ContinuousClock.now + Self.purgeWait
            while !pending.isEmpty, ContinuousClock.now < deadline {
                _ = poll(within: deadline - .now)
            }
        }
        refuseEverything(KafkaError.closed("producer"))
        let inbox = inbox
        DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(Int(Self.destroyWait.components.seconds))) {
            inbox.finish()
        }
        handle = nil
        inbox.finish()
        thread.stop()
    }

    private func refuseEverything(_ error: KafkaError) {
        let rest = inbox.refuse(error)
        for finished in pending.failAll(error) { resume(finished) }
        for submission in rest.submissions { submission.continuation.resume(throwing: error) }
        for request in rest.clusterIDRequests { request.continuation.resume(throwing: error) }
    }
}

extension KafkaError {
    /// The producer replaces a client that failed fatally, so to its callers no error is final for the client.
    fileprivate var forProducerCaller: KafkaError {
        isFatal ? KafkaError(code: code, reason: reason) : self
    }
}
