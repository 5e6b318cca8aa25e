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

/// Is given partitions as a member of the consumer group, and has one lane read and project each of them.
///
/// A revocation is answered when every lane has finished its batch, so that it does not overtake one, or after ten
/// seconds: the fence refuses what comes later. Any failure ends the session: the consumer leaves the group and a new
/// session begins from the fence rows after a pause.
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
        stuck = context.stuckLoop("projection", limit: Self.stepLimit)
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

    /// How long a lane may be in one step before the loop counts as stuck.
    private static let stepLimit = Duration.seconds(30)

    /// - Parameter onProgress: called while partitions have been held for long: being given some proves nothing.
    private func session(onProgress: () -> Void) async throws {
        let consumer = try KafkaConsumer(
            kafka, groupID: configuration.groupID, enablePartitionEOF: true)
        var session = Session(consumer: consumer, loop: self)
        do {
            try await consumer.subscribe([configuration.source.name])
            while !Task.isShuttingDownGracefully {
                try Task.checkCancellation()
                if await session.isTurning { stuck.turn() }
                try await session.turn()
                if session.isSteady { onProgress() }
            }
            try await session.release()
        } catch {
            owned.set([])
            await session.abandon()
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
        var lanes: [Int32: PartitionLane] = [:]
        var clusterID = ""
        /// When partitions were given and taken; it may have been none.
        private var taken: ContinuousClock.Instant?
        var lastClusterCheck = ContinuousClock.now
        var advised: [TopicPartition: Int64] = [:]

        init(consumer: KafkaConsumer, loop: ProjectionLoop) {
            self.consumer = consumer
            self.loop = loop
        }

        mutating func turn() async throws {
            switch try await consumer.next(max: 1, wait: .milliseconds(200)) {
            case .assigned(let partitions): try await take(partitions)
            case .revoked:
                try await release()
                try await consumer.unassign()
            case .records, .offsetOutOfRange, .endOfPartition, .idle: break
            }
            try await endOnTrouble()
            try await watch()
            await advise()
        }

        /// The lanes have been held without trouble for longer than one that fails at once would take to.
        var isSteady: Bool { taken.map { .now - $0 > .seconds(10) } ?? false }

        /// No lane has been in one step for long.
        var isTurning: Bool {
            get async {
                for lane in lanes.values where .now - (await lane.turnBegan) > ProjectionLoop.stepLimit { return false }
                return true
            }
        }

        private mutating func endOnTrouble() async throws {
            var restarts: [Int32: String] = [:]
            for lane in lanes.values {
                switch await lane.trouble {
                case nil: break
                case .failed(let error): throw error
                case .historyRestarted(let reason): restarts[lane.part] = reason
                }
            }
            try await restart(restarts)
        }

        mutating func release() async throws {
            await stopLanes()
            try await endOnTrouble()
            await advise()
            forgetLanes()
            loop.owned.set([])
        }

        /// Ends what is under way as fast as it can be ended.
        mutating func abandon() async {
            let lanes = lanes
            let stopping = Task {
                await withTaskGroup { group in for lane in lanes.values { group.addTask { await lane.stop() } } }
            }
            stopping.cancel()
            await stopping.value
            forgetLanes()
        }

        private func stopLanes() async {
            await withTaskGroup { group in for lane in lanes.values { group.addTask { await lane.stop() } } }
        }

        private mutating func forgetLanes() {
            lanes = [:]
            advised = [:]
            taken = nil
        }

        /// Tells the group how far the projection is, for monitoring.
        private mutating func advise() async {
            var advice: [TopicPartition: Int64] = [:]
            for (part, lane) in lanes {
                advice[TopicPartition(topic: loop.configuration.source.name, partition: part)] =
                    await lane.worker.ownership.nextOffset
            }
            advice = advice.filter { advised[$0.key] != $0.value }
            guard !advice.isEmpty else { return }
            advised.merge(advice) { $1 }
            try? await consumer.commit(advice)
        }

        private mutating func take(_ partitions: [TopicPartition]) async throws {
            guard let cluster = try await consumer.clusterID(timeout: .seconds(5)) else {
                throw KafkaError(code: .timedOut, reason: "the broker does not tell its cluster id")
            }
            try await requirePartitions()
            clusterID = cluster
            await stopLanes()
            forgetLanes()
            let setting = PartitionLane.Setting(
                kafka: loop.kafka, configuration: loop.configuration, metrics: loop.metrics)
            for part in partitions.map(\.partition) {
                lanes[part] = PartitionLane(part, worker(of: try await own(part)), setting)
            }
            // The group's own consumer reads nothing.
            try await consumer.assign([:])
            for lane in lanes.values { await lane.start() }
            taken = .now
            loop.owned.set(Set(lanes.keys))
            loop.context.logger.info(
                "partitions assigned", metadata: ["kafka.partitions": "\(lanes.keys.sorted())"])
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

        private func own(_ part: Int32, restart: ProjectionStore.Restart? = nil) async throws -> Ownership {
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

        private func worker(of ownership: Ownership) -> PartitionWorker {
            let producer = loop.producer
            return PartitionWorker(
                ownership, store: loop.store,
                publisher: StatusPublisher(send: { try await producer.send($0) }, encoding: loop.metrics.encoding),
                metrics: loop.metrics, tailDeadline: loop.configuration.tailDeadline)
        }

        /// Ends the session: where one partition is made anew, the others may be as well, and only a new session checks
        /// the tail of each.
        ///
        /// - Parameter reasons: why the histories of these partitions count as restarted.
        private func restart(_ reasons: [Int32: String]) async throws {
            guard !reasons.isEmpty else { return }
            await stopLanes()
            for (part, reason) in reasons {
                guard let finder = await lanes[part]?.worker.ownership else { continue }
                _ = try await own(part, restart: .init(reason: reason, epoch: finder.epoch))
            }
            throw HistoryRestarted()
        }

        /// Notices a broker that came back empty: nothing else would tell.
        private mutating func watch() async throws {
            let now = ContinuousClock.now
            guard !lanes.isEmpty else { return }
            guard now - lastClusterCheck > loop.configuration.clusterCheck else { return }
            lastClusterCheck = now
            guard let cluster = try? await consumer.clusterID(timeout: .seconds(2)) else {
                for lane in lanes.values { await lane.noteSilence() }
                return
            }
            guard cluster == clusterID else {
                throw KafkaError(code: .transport, reason: "the broker is another cluster than before")
            }
            var lost: [Int32: String] = [:]
            for lane in lanes.values { lost[lane.part] = try await lane.tailLoss() }
            try await restart(lost)
        }
    }
}
