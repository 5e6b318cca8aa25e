import Contracts
import Kafka
import Logging
import Postgres
import Runtime
import ServiceLifecycle
import Synchronization

/// The partitions this process owns now, shared with the progress publisher.
final class OwnedPartitions: Sendable {
    private let parts = Mutex<Set<Int32>>([])
    func set(_ parts: Set<Int32>) { self.parts.withLock { $0 = parts } }
    var current: Set<Int32> { parts.withLock { $0 } }
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
                of: consumer, batchMax: loop.configuration.batchMax, wait: wait,
                decoding: loop.metrics.decoding)
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
            clusterID = cluster
            workers = [:]
            for partition in partitions {
                workers[partition.partition] = try await acquire(partition.partition, restart: nil)
            }
            try await assign()
            isAssigned = true
            loop.owned.set(Set(workers.keys))
            loop.context.logger.info(
                "partitions assigned", metadata: ["kafka.partitions": "\(workers.keys.sorted())"])
        }

        private func acquire(_ part: Int32, restart: String?) async throws -> PartitionWorker {
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
            let worker = PartitionWorker(
                ownership, store: loop.store,
                publisher: StatusPublisher(producer: loop.producer, encoding: loop.metrics.encoding),
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
            let (consumer, batchMax, decoding) = (consumer, loop.configuration.batchMax, loop.metrics.decoding)
            let following = Task {
                try await ReadStep.next(of: consumer, batchMax: batchMax, wait: .zero, decoding: decoding)
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
            for part in restarted { try await restart(part, reason: "another record stands where ours was") }
            var advice: [TopicPartition: Int64] = [:]
            for part in batches.keys where !restarted.contains(part) {
                guard let worker = workers[part] else { continue }
                advice[TopicPartition(topic: loop.configuration.source.name, partition: part)] =
                    await worker.ownership.nextOffset
            }
            try? await consumer.commit(advice)
        }

        private mutating func restart(_ part: Int32, reason: String) async throws {
            workers[part] = try await acquire(part, restart: reason)
            try await assign()
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
                    partition.partition,
                    reason: "retention overtook the projector: \(low - nextOffset) records are gone")
            } else {
                try await restart(partition.partition, reason: "the topic ends before the last projected record")
            }
        }

        private mutating func ended(_ partition: TopicPartition, _ nextOffset: Int64) async throws {
            guard let worker = workers[partition.partition] else { return }
            if await worker.isAwaitingTail, nextOffset < (await worker.ownership.nextOffset) {
                try await restart(partition.partition, reason: "the topic ends before the last projected record")
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
            for (part, worker) in workers where await worker.isTailOverdue {
                try await restart(part, reason: "the last projected record cannot be read")
            }
        }
    }
}
