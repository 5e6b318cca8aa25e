import Contracts
import Kafka

/// Reads a topic without joining a group.
struct TopicScan {
    let kafka: KafkaConfiguration
    /// How long nothing may arrive before the broker counts as away.
    var patience = Duration.seconds(10)

    /// Every record from the beginning to what is the end now, partition by partition in order.
    func each(_ topic: Topic, _ body: (ConsumerRecord) -> Void) async throws {
        try await withConsumer { consumer in
            let partitions = (0..<Int32(topic.partitions)).map { TopicPartition(topic: topic.name, partition: $0) }
            try await consumer.assign(Dictionary(uniqueKeysWithValues: partitions.map { ($0, .beginning) }))
            var open = Set(partitions)
            var deadline = ContinuousClock.now + patience
            while !open.isEmpty {
                switch try await consumer.next(max: 1000, wait: .milliseconds(200)) {
                case .records(let records): for record in records { body(record) }
                case .endOfPartition(let partition, _): open.remove(partition)
                default:
                    guard ContinuousClock.now < deadline else { throw await away(consumer) }
                    continue
                }
                deadline = ContinuousClock.now + patience
            }
        }
    }

    /// The record at a place; nil when the topic no longer has it, or when this is another cluster.
    func record(at place: ParkedRecord.Place) async throws -> ConsumerRecord? {
        try await withConsumer { consumer in
            guard try await consumer.clusterID(timeout: patience) == place.cluster else { return nil }
            try await consumer.assign([place.partition: .offset(place.offset)])
            let deadline = ContinuousClock.now + patience / 2
            while ContinuousClock.now < deadline {
                switch try await consumer.next(max: 1, wait: .milliseconds(200)) {
                case .records(let records): return records.first { $0.offset == place.offset }
                case .offsetOutOfRange, .endOfPartition: return nil
                default: continue
                }
            }
            // A broker may say nothing at all about an offset beyond its end; one that is away does not know its cluster.
            guard try await consumer.clusterID(timeout: patience) != nil else { throw await away(consumer) }
            return nil
        }
    }

    /// Where a topic ends: everything before these offsets has been acknowledged.
    struct Ends: Sendable {
        let clusterID: String
        let offsets: [Int32: Int64]
    }

    /// Reads each partition up to its end, since not every broker's answer to the question alone can be relied on. An
    /// answer that is too low is safe, and nothing else can come of it: reading starts there.
    func ends(of topic: Topic) async throws -> Ends {
        try await withConsumer { consumer in
            let deadline = ContinuousClock.now + patience
            guard let clusterID = try await consumer.clusterID(timeout: patience) else {
                throw Failure("the broker does not tell its cluster id", code: Failure.unavailable)
            }
            var starts: [TopicPartition: StartOffset] = [:]
            for part in 0..<Int32(topic.partitions) {
                let partition = TopicPartition(topic: topic.name, partition: part)
                starts[partition] = .offset(try await consumer.watermarks(partition, timeout: deadline - .now).high)
            }
            try await consumer.assign(starts)
            var offsets: [Int32: Int64] = [:]
            while offsets.count < topic.partitions {
                switch try await consumer.next(max: 1000, wait: .milliseconds(200)) {
                case .endOfPartition(let partition, let nextOffset): offsets[partition.partition] = nextOffset
                case .offsetOutOfRange(let partition):
                    starts[partition] = .beginning
                    offsets = [:]
                    try await consumer.assign(starts)
                default: break
                }
                guard ContinuousClock.now < deadline else {
                    throw Failure("the end of \(topic.name) could not be read in time", code: Failure.unavailable)
                }
            }
            return Ends(clusterID: clusterID, offsets: offsets)
        }
    }

    /// - Throws: `Failure` when retention has removed the beginning of a partition.
    func requireBeginning(of topic: Topic) async throws {
        try await withConsumer { consumer in
            for part in 0..<Int32(topic.partitions) {
                let partition = TopicPartition(topic: topic.name, partition: part)
                let low = try await consumer.watermarks(partition, timeout: patience).low
                guard low == 0 else {
                    throw Failure(
                        "\(topic.name), partition \(part), begins at offset \(low): what came before is gone, so nothing "
                            + "can be rebuilt from offset 0")
                }
            }
        }
    }

    private func withConsumer<Value: Sendable>(_ body: (KafkaConsumer) async throws -> Value) async throws -> Value {
        let consumer = try KafkaConsumer(kafka, groupID: nil, enablePartitionEOF: true)
        do {
            let value = try await body(consumer)
            await consumer.close()
            return value
        } catch {
            await consumer.close()
            throw error
        }
    }

    private func away(_ consumer: KafkaConsumer) async -> Failure {
        let detail = await consumer.lastError.map { ": \($0)" } ?? ""
        return Failure("Kafka at \(kafka.bootstrapServers) does not answer\(detail)", code: Failure.unavailable)
    }
}
