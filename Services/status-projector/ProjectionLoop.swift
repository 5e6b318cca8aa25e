import Contracts
import Kafka
import Logging
import Postgres
import Runtime
import ServiceLifecycle
import Synchronization

/// The partitions this process owns now, shared with the progress publisher.
final class OwnedPartitions: Sendable {
    private let state = Mutex<(parts: Set<Int32>, since: ContinuousClock.Instant)>(([], .now))

    func set(_ parts: Set<Int32>) { state.withLock { $0 = (parts, .now) } }
    var current: Set<Int32> { state.withLock(\.parts) }
    /// When they were taken.
    var since: ContinuousClock.Instant { state.withLock(\.since) }
}

/// Reads delivery events as a member of the consumer group and drives one worker per owned partition.
///
/// A step is finished before the next is asked for, so that a revocation never overtakes a batch. Any failure ends the
/// session: the consumer leaves the group and a new session begins from the fence rows after a pause.
struct ProjectionLoop: Service {
    let context: ProgramContext
    let configuration: ProjectorConfiguration
    let kafka: KafkaConfiguration
    let database: PostgresPool
    let producer: KafkaProducer
    let owned: OwnedPartitions
    let metrics: ProjectorMetrics
    private let store: ProjectionStore
    private let stuck: StuckLoop

    init(
        context: ProgramContext, configuration: ProjectorConfiguration, kafka: KafkaConfiguration,
        database: PostgresPool, producer: KafkaProducer, owned: OwnedPartitions
    ) {
        self.context = context
        self.configuration = configuration
        self.kafka = kafka
        self.database = database
        self.producer = producer
        self.owned = owned
        metrics = ProjectorMetrics(context.metrics)
        stuck = context.stuckLoop("projection")
        store = ProjectionStore(
            projection: configuration.projection, topic: configuration.source.name, database: database,
            folding: metrics.folding)
    }

    func run() async throws {
        let outage = OutageLog("projecting", logger: context.logger)
        var backoff = Backoff(initial: .milliseconds(100), maximum: .seconds(5))
        while !Task.isShuttingDownGracefully {
            try Task.checkCancellation()
            do {
                try await session {
                    outage.worked()
                    backoff.reset()
                }
            } catch is HistoryRestarted {
                context.logger.warning("joining the group again to check every partition")
            } catch is ProjectionStore.Fenced {
                metrics.fenced.increment()
                context.logger.warning("fenced by another owner; joining the group again")
            } catch {
                outage.failed(error)
            }
            if try await pause(for: backoff.next()) { return }
        }
    }

    /// - Parameter onProgress: called while partitions are held; waiting to be given some proves nothing.
    private func session(onProgress: () -> Void) async throws {
        let consumer = try KafkaConsumer(
            kafka, groupID: "rollcall-projector-\(configuration.projection)", enablePartitionEOF: true)
        var session = Session(consumer: consumer, loop: self)
        do {
            try await consumer.subscribe([configuration.source.name])
            while !Task.isShuttingDownGracefully {
                stuck.turn()
                try await session.turn()
                if session.isAssigned { onProgress() }
            }
            try await session.release()
        } catch {
            owned.set([])
            await consumer.close()
            throw error
        }
        owned.set([])
        await consumer.close()
    }

    private struct HistoryRestarted: Error {}

    /// One membership in the group, from joining to leaving.
    private struct Session {
        let consumer: KafkaConsumer
        let loop: ProjectionLoop
        var workers: [Int32: PartitionWorker] = [:]
        var clusterID = ""
        /// Taken from the consumer while the step before was being projected.
        var ahead: ReadStep?
        /// Partitions were given and taken; it may be none.
        var isAssigned = false
        var lastClusterCheck = ContinuousClock.now
        var lastTidy = ContinuousClock.now

        init(consumer: KafkaConsumer, loop: ProjectionLoop) {
            self.consumer = consumer
            self.loop = loop
        }

        mutating func turn() async throws {
            let began = ContinuousClock.now
            let read = try await nextStep()
            switch read.step {
            case .assigned(let partitions): try await take(partitions)
            case .revoked:
                try await release()
                try await consumer.unassign()
            case .records: try await project(read.pieces)
            case .offsetOutOfRange(let partition): try await outOfRange(partition)
            case .endOfPartition(let partition, let nextOffset): try await ended(partition, nextOffset)
            case .idle: try await flush()
            }
            let took = ContinuousClock.now - began
            if took > .seconds(1) {
                for worker in workers.values { await worker.extendTailDeadline(by: took) }
            }
            try await watch()
        }

        private mutating func nextStep() async throws -> ReadStep {
            if let read = ahead {
                ahead = nil
                return read
            }
            var wait = Duration.milliseconds(200)
            for worker in workers.values where await worker.hasUnpublished { wait = .zero }
            return try await ReadStep.next(
                of: consumer, batchMax: loop.configuration.batchMax,
                partitions: loop.configuration.sourcePartitions, wait: wait, decoding: loop.metrics.decoding)
        }

        mutating func release() async throws {
            try await flush()
            workers = [:]
            isAssigned = false
            loop.owned.set([])
        }

        private mutating func take(_ partitions: [TopicPartition]) async throws {
            guard let cluster = try await consumer.clusterID(timeout: .seconds(5)) else {
                throw KafkaError(code: .timedOut, reason: "the broker does not tell its cluster id")
            }
            try await requirePartitions()
            clusterID = cluster
            workers = [:]
            for partition in partitions { workers[partition.partition] = try await acquire(partition.partition) }
            try await assign()
            isAssigned = true
            loop.owned.set(Set(workers.keys))
            loop.context.logger.info(
                "partitions assigned", metadata: ["kafka.partitions": "\(workers.keys.sorted())"])
        }

        /// Another number of partitions puts deliveries on other partitions than their earlier events.
        private func requirePartitions() async throws {
            let (source, expected) = (loop.configuration.source, loop.configuration.sourcePartitions)
            let count = try await consumer.partitionCount(of: source.name, timeout: .seconds(5))
            guard let count, count != expected else { return }
            throw KafkaError(
                code: .invalidConfiguration,
                reason: "\(source.name) has \(count) partitions, this version needs \(expected): a key must "
                    + "never change its partition, so nothing is projected until the topic is as "
                    + "'rollcall topics apply' makes it")
        }

        /// - Parameter restart: why the event history counts as restarted, when it does.
        private func own(_ part: Int32, restart: String? = nil) async throws -> Ownership {
            let ownership = try await loop.store.acquire(
                part: part, clusterID: clusterID, restart: restart)
            if let reason = ownership.restartReason {
                loop.metrics.incidents.increment()
                loop.context.logger.critical(
                    "the event history restarted: events not yet projected are gone",
                    metadata: [
                        "kafka.partition": "\(part)", "reason": "\(reason)", "incarnation": "\(ownership.incarnation)",
                    ])
            }
            return ownership
        }

        private func acquire(_ part: Int32) async throws -> PartitionWorker {
            let producer = loop.producer
            let worker = PartitionWorker(
                try await own(part), store: loop.store,
                publisher: StatusPublisher(send: { try await producer.send($0) }, encoding: loop.metrics.encoding),
                metrics: loop.metrics, tailDeadline: loop.configuration.tailDeadline)
            try await worker.recover()
            return worker
        }

        private mutating func assign() async throws {
            if ahead?.isAboutTheGroup == false { ahead = nil }
            var offsets: [TopicPartition: StartOffset] = [:]
            for (part, worker) in workers {
                offsets[TopicPartition(topic: loop.configuration.source.name, partition: part)] = await worker.start
            }
            try await consumer.assign(offsets)
            // Taking the partitions may have lasted: a stopped owner can hold one of them for a while.
            for worker in workers.values { await worker.postponeTailDeadline() }
        }

        private mutating func project(_ batches: [Int32: [ReadStep.Piece]]) async throws {
            let workers = self.workers
            let (consumer, configuration, decoding) = (consumer, loop.configuration, loop.metrics.decoding)
            let following = Task {
                try await ReadStep.next(
                    of: consumer, batchMax: configuration.batchMax, partitions: configuration.sourcePartitions,
                    wait: .zero, decoding: decoding)
            }
            let restarted = try await withThrowingTaskGroup(of: Int32?.self) { group in
                for (part, pieces) in batches {
                    guard let worker = workers[part] else { continue }
                    group.addTask {
                        let outcome = try await worker.project(pieces) {
                            try? await following.value.pieces[part]?.first?.batch
                        }
                        return outcome == .historyRestarted ? part : nil
                    }
                }
                return try await group.reduce(into: [Int32]()) { list, part in if let part { list.append(part) } }
            }
            let next = try await following.value
            if case .idle = next.step { ahead = nil } else { ahead = next }
            try await restart(restarted, reason: "another record stands where ours was")
            var advice: [TopicPartition: Int64] = [:]
            for part in batches.keys {
                guard let worker = workers[part] else { continue }
                advice[TopicPartition(topic: loop.configuration.source.name, partition: part)] =
                    await worker.ownership.nextOffset
            }
            try? await consumer.commit(advice)
        }

        /// Ends the session: where one partition is made anew, the others may be as well, and only a new session checks
        /// the tail of each.
        private func restart(_ parts: [Int32], reason: String) async throws {
            guard !parts.isEmpty else { return }
            for part in parts { _ = try await own(part, restart: reason) }
            throw HistoryRestarted()
        }

        private mutating func outOfRange(_ partition: TopicPartition) async throws {
            guard let worker = workers[partition.partition] else { return }
            let low = try await consumer.watermarks(partition, timeout: .seconds(5)).low
            let nextOffset = await worker.ownership.nextOffset
            if await worker.isAwaitingTail, low == nextOffset {
                await worker.skipTailCheck()
                try await assign()
            } else if low > nextOffset {
                try await restart(
                    [partition.partition],
                    reason: "retention overtook the projector: \(low - nextOffset) records are gone")
            } else {
                try await restart([partition.partition], reason: "the topic ends before the last projected record")
            }
        }

        private func ended(_ partition: TopicPartition, _ nextOffset: Int64) async throws {
            guard let worker = workers[partition.partition] else { return }
            if await worker.isAwaitingTail, nextOffset < (await worker.ownership.nextOffset) {
                try await restart([partition.partition], reason: "the topic ends before the last projected record")
            } else {
                try await worker.flush()
            }
        }

        private func flush() async throws {
            for worker in workers.values { try await worker.flush() }
        }

        /// Notices a broker that came back empty: nothing else would tell.
        private mutating func watch() async throws {
            let now = ContinuousClock.now
            guard !workers.isEmpty else { return }
            if now - lastTidy > loop.configuration.tidyInterval {
                lastTidy = now
                for worker in workers.values {
                    try await worker.tidy(zombieHorizon: loop.configuration.zombieHorizon)
                }
            }
            guard now - lastClusterCheck > loop.configuration.clusterCheck else { return }
            lastClusterCheck = now
            guard let cluster = try? await consumer.clusterID(timeout: .seconds(2)) else {
                for worker in workers.values { await worker.postponeTailDeadline() }
                return
            }
            guard cluster == clusterID else {
                throw KafkaError(code: .transport, reason: "the broker is another cluster than before")
            }
            try await restart(try await unreadableTails(), reason: "the last projected record cannot be read")
        }

        /// Partitions whose leader answers and still does not bring the last projected record. While there is no leader,
        /// or none that answers, nothing is known about the topic.
        private func unreadableTails() async throws -> [Int32] {
            var overdue: [Int32] = []
            for (part, worker) in workers where await worker.isAwaitingTail {
                let partition = TopicPartition(topic: loop.configuration.source.name, partition: part)
                do {
                    _ = try await consumer.leaderWatermarks(partition, timeout: .seconds(1))
                    if await worker.isTailOverdue { overdue.append(part) }
                } catch is KafkaError {
                    await worker.postponeTailDeadline()
                }
            }
            return overdue
        }
    }
}
