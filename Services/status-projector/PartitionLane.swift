import Contracts
import Kafka
import Runtime

/// Reads and projects one owned partition, on its own: none waits for another's records, database or broker.
///
/// The partition has a consumer to itself. Partitions that share one share its queue, and while that is full of one
/// partition's records nothing is fetched of the others.
///
/// A lane that met ``trouble`` does nothing more: the session ends.
actor PartitionLane {
    /// What every lane of a session works by.
    struct Setting: Sendable {
        let kafka: KafkaConfiguration
        let configuration: ProjectorConfiguration
        let metrics: ProjectorMetrics
    }

    enum Trouble: Sendable {
        case failed(any Error)
        /// Why the history counts as restarted.
        case historyRestarted(String)
    }

    let part: Int32
    let worker: PartitionWorker
    private(set) var trouble: Trouble?
    /// When the step under way was begun.
    private(set) var turnBegan = ContinuousClock.now
    private let setting: Setting
    /// Taken from the consumer while the step before was being projected.
    private var ahead: ReadStep?
    private var lastTidy = ContinuousClock.now
    private var consumer: KafkaConsumer?
    /// When the partition's leader was asked last, it did not answer.
    private var leaderIsSilent = false
    /// The last end that the consumer reported lies before the last projected record.
    private var endsBeforeTail = false
    private var running: Task<Void, Never>?
    private var isStopped = false

    init(_ part: Int32, _ worker: PartitionWorker, _ setting: Setting) {
        self.part = part
        self.worker = worker
        self.setting = setting
    }

    func start() {
        running = Task { await run() }
    }

    /// Begins no further step, and returns when the one under way has ended and everything is published. Cancels that
    /// after `patience`, or when the caller is cancelled; the next owner then publishes it from the log.
    func stop(within patience: Duration = .seconds(10)) async {
        isStopped = true
        let running = running
        let impatience = Task {
            try await Task.sleep(for: patience)
            running?.cancel()
        }
        await withTaskCancellationHandler {
            await running?.value
        } onCancel: {
            running?.cancel()
        }
        impatience.cancel()
    }

    /// Time during which the broker does not answer is not held against the topic.
    func noteSilence() async {
        leaderIsSilent = true
        await worker.postponeTailDeadline()
    }

    /// Why the last projected record counts as lost: the leader has been answering for long and still does not bring it.
    /// While there is no leader, or none that answers, or nobody reads, nothing is known about the topic.
    func tailLoss() async throws -> String? {
        guard await worker.isAwaitingTail, let consumer else { return nil }
        guard .now - turnBegan < .seconds(2) else {
            await worker.postponeTailDeadline()
            return nil
        }
        do {
            _ = try await consumer.leaderWatermarks(topicPartition, timeout: .seconds(1))
        } catch is KafkaError {
            await noteSilence()
            return nil
        }
        guard !leaderIsSilent else {
            leaderIsSilent = false
            await worker.postponeTailDeadline()
            return nil
        }
        guard await worker.isTailOverdue else { return nil }
        return endsBeforeTail ? Self.endsEarly : "the last projected record cannot be read"
    }

    private func run() async {
        do {
            let consumer = try KafkaConsumer(Self.narrow(setting), groupID: nil, enablePartitionEOF: true)
            self.consumer = consumer
            do {
                try await worker.recover()
                try await assign(consumer)
                while !isStopped, trouble == nil { try await turn(consumer) }
                if trouble == nil { try await worker.flush() }
            } catch {
                trouble = .failed(Task.isCancelled ? Self.cutShort(part) : error)
            }
            await consumer.close()
        } catch {
            trouble = .failed(error)
        }
    }

    private static func cutShort(_ part: Int32) -> KafkaError {
        KafkaError(
            code: .timedOut,
            reason: "partition \(part) was given up before its batch was published; its next owner publishes it")
    }

    /// There is a consumer for each partition, so each gets by with less. None joins the group, but the client asks for
    /// a group's coordinator, which access control may allow for the projector's own only.
    private static func narrow(_ setting: Setting) -> KafkaConfiguration {
        KafkaConfiguration(
            bootstrapServers: setting.kafka.bootstrapServers, clientID: setting.kafka.clientID,
            overrides: [
                "group.id": setting.configuration.groupID, "queued.max.messages.kbytes": "1024",
                "fetch.max.bytes": "1048576",
            ].merging(setting.kafka.overrides) { $1 })
    }

    private var topicPartition: TopicPartition {
        TopicPartition(topic: setting.configuration.source.name, partition: part)
    }

    private func assign(_ consumer: KafkaConsumer) async throws {
        try await consumer.assign([topicPartition: await worker.start])
        await worker.postponeTailDeadline()
    }

    private func turn(_ consumer: KafkaConsumer) async throws {
        turnBegan = .now
        let read = try await nextStep(of: consumer)
        switch read.step {
        case .records: try await project(read.piece, consumer)
        case .endOfPartition(_, let nextOffset): try await ended(at: nextOffset)
        case .offsetOutOfRange: try await outOfRange(consumer)
        case .idle: try await worker.flush()
        case .assigned, .revoked: break
        }
        if .now - lastTidy > setting.configuration.tidyInterval {
            lastTidy = .now
            try await worker.tidy(zombieHorizon: setting.configuration.zombieHorizon)
        }
        let took = ContinuousClock.now - turnBegan
        if took > .seconds(1) { await worker.extendTailDeadline(by: took) }
    }

    private func nextStep(of consumer: KafkaConsumer) async throws -> ReadStep {
        if let read = ahead {
            ahead = nil
            return read
        }
        let wait: Duration = await worker.hasUnpublished ? .zero : .milliseconds(200)
        return try await ReadStep.next(of: consumer, setting, wait: wait)
    }

    private func project(_ piece: Piece?, _ consumer: KafkaConsumer) async throws {
        guard let piece else { return }
        let following = Task { [setting] in try await ReadStep.next(of: consumer, setting, wait: .zero) }
        let outcome = try await worker.project(piece) { try? await following.value.piece?.batch }
        let next = try await following.value
        if case .idle = next.step { ahead = nil } else { ahead = next }
        if outcome == .historyRestarted { trouble = .historyRestarted("another record stands where ours was") }
    }

    /// An end before the tail decides nothing yet: a leader just elected may not know how far its records are committed.
    private func ended(at nextOffset: Int64) async throws {
        let isAwaitingTail = await worker.isAwaitingTail
        let next = await worker.ownership.nextOffset
        endsBeforeTail = isAwaitingTail && nextOffset < next
        try await worker.flush()
    }

    private func outOfRange(_ consumer: KafkaConsumer) async throws {
        let low = try await consumer.watermarks(topicPartition, timeout: .seconds(5)).low
        let nextOffset = await worker.ownership.nextOffset
        if await worker.isAwaitingTail, low == nextOffset {
            await worker.skipTailCheck()
            try await assign(consumer)
        } else if low > nextOffset {
            trouble = .historyRestarted(
                "retention overtook the projector: \(low - nextOffset) records are gone")
        } else {
            trouble = .historyRestarted(Self.endsEarly)
        }
    }

    private static let endsEarly = "the topic ends before the last projected record"
}
