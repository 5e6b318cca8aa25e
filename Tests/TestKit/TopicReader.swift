public import Contracts
public import Delivery
public import Kafka

extension LocalStack {
    /// A client's configuration with the local profile's short sessions.
    public func kafka(clientID: String = "rollcall-tests") -> KafkaConfiguration {
        KafkaConfiguration(
            bootstrapServers: kafkaBootstrap, clientID: clientID,
            overrides: ["session.timeout.ms": "2000", "heartbeat.interval.ms": "500"])
    }

    /// Creates every topic of the contract.
    public func createTopics() async throws {
        let admin = try KafkaAdmin(kafka())
        try await admin.create(
            Topic.all.map {
                TopicSpecification(
                    name: $0.name, partitions: Int32($0.partitions), replicationFactor: 1,
                    configuration: $0.configuration(replicationFactor: 1))
            }, timeout: .seconds(60))
        await admin.close()
    }

    /// Every record of a topic, from the beginning to what is its end now, per partition in order.
    public func readAll(_ topic: Topic) async throws -> [ConsumerRecord] {
        let consumer = try KafkaConsumer(kafka(), groupID: nil, enablePartitionEOF: true)
        var open: Set<Int32> = Set((0..<topic.partitions).map { Int32($0) })
        try await consumer.assign(
            Dictionary(
                uniqueKeysWithValues: open.map { (TopicPartition(topic: topic.name, partition: $0), .beginning) }))
        var records: [ConsumerRecord] = []
        let end = ContinuousClock.now + .seconds(120)
        while !open.isEmpty {
            switch try await consumer.next(max: 5000, wait: .milliseconds(200)) {
            case .records(let batch): records += batch
            case .endOfPartition(let partition, _): open.remove(partition.partition)
            default: break
            }
            guard ContinuousClock.now < end else { throw TestKitError("\(topic.name): no end within 120 s") }
        }
        await consumer.close()
        return records
    }
}

/// What a downstream consumer of the status topic sees.
public struct StatusTopicView: Sendable {
    /// The newest record of each delivery by the consumer rule: (incarnation, version, seq).
    public private(set) var latest: [DeliveryID: DeliveryStatusRecord] = [:]
    /// The last record of each delivery, whatever its number: what a compacted topic keeps.
    public private(set) var last: [DeliveryID: DeliveryStatusRecord] = [:]
    /// Where first appearances were out of version order or left a gap, in words.
    public private(set) var faults: [String] = []
    public private(set) var recordCount = 0
    public private(set) var repeatCount = 0

    public init(_ records: [ConsumerRecord]) throws {
        for record in records {
            guard let value = record.value else { continue }
            try read(DeliveryStatusRecord(value: value))
        }
    }

    private mutating func read(_ record: DeliveryStatusRecord) throws {
        recordCount += 1
        last[record.delivery] = record
        let known = latest[record.delivery]
        if let known, (known.incarnation, Int64(known.version), known.seq) >= key(record) {
            repeatCount += 1
            return
        }
        if let known, known.incarnation == record.incarnation {
            if record.versionFrom > known.version + 1 {
                faults.append("\(record.delivery): version \(record.versionFrom) first appears after \(known.version)")
            }
            if !record.facts.isSuperset(of: known.facts) { faults.append("\(record.delivery): facts were lost") }
        } else if record.versionFrom != 0 {
            faults.append("\(record.delivery): first record covers \(record.versionFrom)…\(record.version), not 0")
        }
        latest[record.delivery] = record
    }

    private func key(_ record: DeliveryStatusRecord) -> (Int32, Int64, Int64) {
        (record.incarnation, Int64(record.version), record.seq)
    }
}
