import Contracts
import Kafka
import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Reads topics in a group and hands the records to a ``RecordSink``, until the process is asked to stop.
///
/// Outages of the broker or the database end a session: the consumer leaves its group, so that another guard can take
/// over, and a new session begins after a pause. A broker that came back under another cluster id has lost its data
/// and tells nobody, so the id is asked for every few seconds and a change begins a new session, at the beginning of
/// the topics. Offsets are committed only behind applied records.
struct ConsumerLoop: Sendable {
    let name: String
    let group: String
    let topics: [Topic]
    let kafka: KafkaConfiguration
    let clusterCheck: Duration
    let stuck: StuckLoop
    let logger: Logger

    private static let batchRecordsMax = 1_000
    private static let pollWait = Duration.milliseconds(200)

    func run(_ sink: inout some RecordSink) async throws {
        var trouble = Trouble(loop: name, logger: logger)
        while !Task.isShuttingDownGracefully {
            try Task.checkCancellation()
            do {
                try await session(&sink, &trouble)
            } catch let error as CancellationError {
                throw error
            } catch {
                if try await pause(for: trouble.happened(error)) { return }
            }
        }
    }

    private func session(_ sink: inout some RecordSink, _ trouble: inout Trouble) async throws {
        try await requireTopics()
        let consumer = try KafkaConsumer(kafka, groupID: group, enablePartitionEOF: sink.watchesEnds)
        do {
            try await read(consumer, &sink, &trouble)
            await consumer.close()
        } catch {
            await consumer.close()
            throw error
        }
    }

    private func read(
        _ consumer: KafkaConsumer, _ sink: inout some RecordSink, _ trouble: inout Trouble
    ) async throws {
        guard let cluster = try await consumer.clusterID(timeout: .seconds(5)) else {
            throw LoopError("the broker tells no cluster id")
        }
        try await sink.open(cluster: cluster)
        sink.release()
        try await consumer.subscribe(topics.map(\.name))
        var watch = ClusterWatch(cluster: cluster, interval: clusterCheck)
        var positions: [TopicPartition: StartOffset] = [:]
        while !Task.isShuttingDownGracefully {
            try Task.checkCancellation()
            if let other = await watch.changedCluster(consumer) {
                logger.warning(
                    "the broker came back as another cluster; reading its topics from the beginning",
                    metadata: ["loop": "\(name)", "cluster.old": "\(cluster)", "cluster.new": "\(other)"])
                return
            }
            if watch.isConfirmed { stuck.turn() }
            var hadRecords = false
            switch try await consumer.next(max: Self.batchRecordsMax, wait: Self.pollWait) {
            case .assigned(let partitions):
                sink.release()
                positions = try await sink.starts(of: partitions)
                try await consumer.assign(positions)
            case .revoked:
                sink.release()
                positions = [:]
                try await consumer.unassign()
            case .offsetOutOfRange(let partition):
                logger.critical(
                    "records were deleted before they were read; reading what the broker still has",
                    metadata: ["loop": "\(name)", "partition": "\(partition)"])
                try await sink.lostRecords(of: partition)
                positions[partition] = .beginning
                try await consumer.assign(positions)
            case .records(let records):
                hadRecords = true
                try await apply(records, &sink)
                var next: [TopicPartition: Int64] = [:]
                for record in records { next[record.topicPartition] = record.offset + 1 }
                for (partition, offset) in next { positions[partition] = .offset(offset) }
                try await consumer.commit(next)
                try await sink.advanced(next, consumer: consumer)
            case .endOfPartition(let partition, let nextOffset):
                positions[partition] = .offset(nextOffset)
                try await sink.reachedEnd(of: partition, nextOffset: nextOffset)
            case .idle:
                break
            }
            trouble.passed()
            if !positions.isEmpty, try await sink.beginProof(afterRecords: hadRecords) {
                try await consumer.assign(positions)
            }
        }
    }

    /// A deadlock or the like is over at the second try; an outage ends the session.
    private func apply(_ records: [ConsumerRecord], _ sink: inout some RecordSink) async throws {
        for _ in 0..<2 {
            do {
                return try await sink.apply(records)
            } catch let error as PostgresError where error.isRetriable || error.code == .ambiguousCommit {
                continue
            }
        }
        try await sink.apply(records)
    }

    private func requireTopics() async throws {
        let admin = try KafkaAdmin(kafka)
        let existing: [String: Int]
        do {
            existing = try await admin.existingTopics(timeout: .seconds(5))
            await admin.close()
        } catch {
            await admin.close()
            throw error
        }
        let missing = topics.map(\.name).filter { existing[$0] == nil }
        guard missing.isEmpty else {
            throw LoopError("topic \(missing.joined(separator: ", ")) does not exist; run 'rollcall topics apply'")
        }
    }
}

/// Asks the broker now and then whether it is still the same cluster.
private struct ClusterWatch {
    let cluster: String
    let interval: Duration
    private var lastAsked = ContinuousClock.now
    private var lastAnswer = ContinuousClock.now

    init(cluster: String, interval: Duration) {
        self.cluster = cluster
        self.interval = interval
    }

    /// The broker answered lately.
    var isConfirmed: Bool { ContinuousClock.now - lastAnswer < .seconds(10) }

    /// The id of the other cluster, if it is another one; nil also when nobody answers.
    mutating func changedCluster(_ consumer: KafkaConsumer) async -> String? {
        guard ContinuousClock.now - lastAsked >= interval else { return nil }
        defer { lastAsked = .now }
        guard let answer = try? await consumer.clusterID(timeout: .seconds(2)) else { return nil }
        lastAnswer = .now
        return answer == cluster ? nil : answer
    }
}

struct LoopError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
