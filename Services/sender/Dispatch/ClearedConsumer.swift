import Contracts
import Delivery
import Kafka
import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Stores that a chunk was cleared, before the offset of the record is committed. The chunk row is what dispatch works
/// from; the record only wakes it.
struct ClearedConsumer: Service {
    /// Changes nothing the second time.
    static let clear = """
        UPDATE chunk c SET state = 'cleared', cleared_at = clock_timestamp()
          FROM unnest($1::uuid[], $2::int[]) AS r(blast_id, chunk_no)
         WHERE c.blast_id = r.blast_id AND c.chunk_no = r.chunk_no AND c.state = 'requested'
        """
    private static let topics = [Topic.chunksCleared.name, Topic.chunksClearedEmergency.name]
    private static let clusterCheck = Duration.seconds(2)

    let kafka: KafkaConfiguration
    let database: PostgresPool
    let metrics: SenderMetrics
    let logger: Logger
    let stuck: StuckLoop

    /// The broker is another cluster than before, or the same one emptied: offsets mean nothing any more.
    private struct HistoryRestarted: Error {}

    func run() async throws {
        let outage = OutageLog("reading cleared chunks", logger: logger)
        var backoff = Backoff(initial: .milliseconds(100), maximum: .seconds(5))
        var isFresh = false
        while !Task.isShuttingDownGracefully {
            try Task.checkCancellation()
            do {
                try await session(isFresh: isFresh) {
                    outage.worked()
                    backoff.reset()
                }
                return
            } catch let error as CancellationError {
                throw error
            } catch is HistoryRestarted {
                logger.warning("the broker is another cluster; reading cleared chunks from the beginning")
                isFresh = true
            } catch {
                outage.failed(error)
            }
            if try await pause(for: backoff.next()) { return }
        }
    }

    private func session(isFresh: Bool, onProgress: () -> Void) async throws {
        let consumer = try KafkaConsumer(kafka, groupID: "rollcall-sender")
        do {
            try await read(consumer, isFresh: isFresh, onProgress: onProgress)
        } catch {
            await consumer.close()
            throw error
        }
        await consumer.close()
    }

    private func read(_ consumer: KafkaConsumer, isFresh: Bool, onProgress: () -> Void) async throws {
        try await consumer.subscribe(Self.topics)
        var cluster: String?
        var nextCheck = ContinuousClock.now
        var starts: [TopicPartition: StartOffset] = [:]
        var isInGroup = false
        while !Task.isShuttingDownGracefully {
            try Task.checkCancellation()
            // A group that never answers looks like a quiet topic: without this the process would call itself ready.
            if isInGroup { stuck.turn() }
            if ContinuousClock.now >= nextCheck {
                nextCheck = .now + Self.clusterCheck
                if let known = try await consumer.clusterID(timeout: .seconds(5)) {
                    if let cluster, cluster != known { throw HistoryRestarted() }
                    cluster = known
                }
            }
            switch try await consumer.next(max: 500, wait: .milliseconds(200)) {
            case .assigned(let partitions):
                isInGroup = true
                starts = Dictionary(uniqueKeysWithValues: partitions.map { ($0, isFresh ? .beginning : .committed) })
                try await consumer.assign(starts)
            case .revoked:
                isInGroup = false
                starts = [:]
                try await consumer.unassign()
            case .records(let records):
                let next = try await store(records)
                for (partition, offset) in next { starts[partition] = .offset(offset) }
                try await consumer.commit(next)
            case .offsetOutOfRange(let partition):
                logger.warning("an offset is gone", metadata: ["kafka.topic": "\(partition)"])
                starts[partition] = .beginning
                try await consumer.assign(starts)
            case .endOfPartition, .idle: break
            }
            onProgress()
        }
    }

    private func store(_ records: [ConsumerRecord]) async throws -> [TopicPartition: Int64] {
        var chunks: [ChunkMessage] = []
        var next: [TopicPartition: Int64] = [:]
        for record in records {
            next[record.topicPartition] = record.offset + 1
            do throws(ContractError) {
                let message = try ChunkMessage(value: record.value ?? [], header: record.header)
                if message.stage == .cleared { chunks.append(message) }
            } catch {
                metrics.malformed.increment()
                logger.error(
                    "a record breaks its contract and is passed over",
                    metadata: [
                        "kafka.topic": "\(record.topicPartition)", "kafka.offset": "\(record.offset)",
                        "cause": "\(error)",
                    ])
            }
        }
        if !chunks.isEmpty {
            _ = try await database.query(
                Self.clear,
                [.uuidArray(chunks.map(\.blast)), .int4Array(chunks.map(\.chunkNumber))])
        }
        return next
    }
}
