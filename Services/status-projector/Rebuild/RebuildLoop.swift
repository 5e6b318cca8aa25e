import Contracts
import Kafka
import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Projects the topic from offset 0 into a second projection, up to the offsets at which the live tables were copied.
///
/// The fold, its SQL and the fence are the live projector's; nothing is published. Any number of processes share the
/// partitions through a consumer group of the projection's own, and a killed one's successor goes on at the stored
/// offset. At the end it stays, idle, until it is stopped. A history that does not begin at offset 0 ends the process.
struct RebuildLoop: Service {
    let context: ProgramContext
    let configuration: ProjectorConfiguration
    let kafka: KafkaConfiguration
    let database: PostgresPool

    func run() async throws {
        let outage = OutageLog("rebuilding", logger: context.logger)
        let stuck = context.stuckLoop("rebuild")
        let metrics = ProjectorMetrics(context.metrics)
        var backoff = Backoff(initial: .milliseconds(100), maximum: .seconds(5))
        while !Task.isShuttingDownGracefully {
            try Task.checkCancellation()
            do {
                try await session(stuck, metrics) {
                    outage.worked()
                    backoff.reset()
                }
            } catch let impossible as RebuildStore.Impossible {
                try? await rebuildStore.record(impossible)
                context.logger.critical("the projection cannot be rebuilt", metadata: ["reason": "\(impossible)"])
                throw impossible
            } catch is ProjectionStore.Fenced {
                metrics.fenced.increment()
                context.logger.warning("fenced by another owner; joining the group again")
            } catch {
                outage.failed(error)
            }
            if try await pause(for: backoff.next()) { return }
        }
    }

    private var rebuildStore: RebuildStore {
        RebuildStore(projection: configuration.projection, topic: configuration.source.name, database: database)
    }

    private func session(_ stuck: StuckLoop, _ metrics: ProjectorMetrics, onProgress: () -> Void) async throws {
        let consumer = try KafkaConsumer(
            kafka, groupID: configuration.groupID, enablePartitionEOF: true)
        let store = ProjectionStore(
            projection: configuration.projection, topic: configuration.source.name, database: database)
        var session = Session(
            consumer: consumer, rebuild: rebuildStore, store: store, metrics: metrics,
            progress: RebuildProgress(context), batchMax: configuration.batchMax)
        do {
            try await consumer.subscribe([configuration.source.name])
            while !Task.isShuttingDownGracefully {
                stuck.turn()
                if try await session.turn() { onProgress() }
            }
        } catch {
            await consumer.close()
            throw error
        }
        await consumer.close()
    }

    /// One membership in the group.
    private struct Session {
        let consumer: KafkaConsumer
        let rebuild: RebuildStore
        let store: ProjectionStore
        let metrics: ProjectorMetrics
        let progress: RebuildProgress
        let batchMax: Int
        var owned: [Int32: Ownership] = [:]
        var ways: [Int32: RebuildStore.Way] = [:]

        /// True when partitions are held.
        mutating func turn() async throws -> Bool {
            switch try await consumer.next(max: batchMax, wait: .milliseconds(200)) {
            case .assigned(let partitions): try await take(partitions.map(\.partition))
            case .revoked:
                owned = [:]
                try await consumer.unassign()
            case .records(let records): try await project(records)
            case .offsetOutOfRange(let partition): try await outOfRange(partition)
            case .endOfPartition(let partition, let nextOffset):
                if let way = ways[partition.partition], nextOffset < way.untilOffset {
                    throw RebuildStore.Impossible(
                        part: partition.partition,
                        reason: "the topic ends at \(nextOffset), before the cut at \(way.untilOffset)")
                }
            case .idle: break
            }
            progress.say()
            return !owned.isEmpty
        }

        private mutating func take(_ parts: [Int32]) async throws {
            guard let cluster = try await consumer.clusterID(timeout: .seconds(5)) else {
                throw KafkaError(code: .timedOut, reason: "the broker does not tell its cluster id")
            }
            ways = try await rebuild.ways()
            owned = [:]
            for part in parts {
                guard let way = ways[part] else {
                    throw RebuildStore.Impossible(part: part, reason: "the rebuild was started without this partition")
                }
                guard way.clusterID == cluster else {
                    throw RebuildStore.Impossible(
                        part: part, reason: "the broker is another cluster than when the rebuild was started")
                }
                let ownership = try await store.acquire(part: part, clusterID: cluster)
                owned[part] = ownership
                progress.begin(part, at: ownership.nextOffset, until: way.untilOffset)
            }
            try await assign()
        }

        /// Reads what is not yet at its cut.
        private func assign() async throws {
            var offsets: [TopicPartition: StartOffset] = [:]
            for (part, ownership) in owned where ownership.nextOffset < ways[part]?.untilOffset ?? 0 {
                offsets[TopicPartition(topic: store.topic, partition: part)] = .offset(ownership.nextOffset)
            }
            try await consumer.assign(offsets)
        }

        private mutating func project(_ records: [ConsumerRecord]) async throws {
            let batches = Dictionary(grouping: records, by: \.topicPartition.partition)
            let (owned, ways, store, metrics) = (self.owned, self.ways, self.store, self.metrics)
            let advanced = try await withThrowingTaskGroup(of: Ownership?.self) { group in
                for (part, batch) in batches {
                    guard let ownership = owned[part], let way = ways[part] else { continue }
                    group.addTask {
                        try await Self.project(batch, ownership, way, store: store, metrics: metrics)
                    }
                }
                return try await group.reduce(into: [Ownership]()) { list, next in if let next { list.append(next) } }
            }
            var hasEnded = false
            for ownership in advanced {
                self.owned[ownership.part] = ownership
                progress.advance(ownership.part, to: ownership.nextOffset)
                if ownership.nextOffset == ways[ownership.part]?.untilOffset { hasEnded = true }
            }
            if hasEnded { try await assign() }
        }

        /// Nil when the records lie behind the cut.
        private static func project(
            _ records: [ConsumerRecord], _ ownership: Ownership, _ way: RebuildStore.Way, store: ProjectionStore,
            metrics: ProjectorMetrics
        ) async throws -> Ownership? {
            let wanted = records.filter { (ownership.nextOffset..<way.untilOffset).contains($0.offset) }
            guard !wanted.isEmpty else { return nil }
            let batch = ReadBatch(wanted).leavingOut(way.late)
            let fold = try await store.commit(batch, by: ownership, published: ownership.seq)
            metrics.count(batch, fold)
            var next = ownership
            next.nextOffset = batch.tail.nextOffset
            next.seq = fold.seq
            // Nothing is published, so nothing has to be found again.
            try await store.forgetBatches(of: next, zombieHorizon: .zero)
            return next
        }

        private func outOfRange(_ partition: TopicPartition) async throws {
            let low = try await consumer.watermarks(partition, timeout: .seconds(5)).low
            let next = owned[partition.partition]?.nextOffset ?? 0
            throw RebuildStore.Impossible(
                part: partition.partition,
                reason: low > next
                    ? "the topic begins at offset \(low), so \(low - next) records of its history are gone"
                    : "the topic ends before offset \(next)")
        }
    }
}
