import Kafka
import TestKit

/// A topic of one test on a real broker, and the clients for it.
struct TestTopic {
    let name: String
    let partitions: Int32
    let configuration: KafkaConfiguration

    /// - Parameter session: after how many milliseconds of silence a member of a group counts as gone.
    static func create(
        _ label: String, partitions: Int32 = 1, session: Int = 2000, on stack: LocalStack
    ) async throws -> TestTopic {
        let topic = TestTopic(
            name: "\(label)-\(UInt64.random(in: 0..<(.max)))", partitions: partitions,
            configuration: KafkaConfiguration(
                bootstrapServers: stack.kafkaBootstrap, clientID: "kafka-tests",
                overrides: ["session.timeout.ms": "\(session)", "heartbeat.interval.ms": "500"]))
        try await topic.create()
        return topic
    }

    /// Creates it (again, after the broker was emptied) and waits until it is known.
    func create() async throws {
        let admin = try KafkaAdmin(configuration)
        let specification = TopicSpecification(name: name, partitions: partitions, replicationFactor: 1)
        try await admin.create([specification], timeout: .seconds(60))
        _ = try await eventually("topic \(name) exists") {
            try await admin.existingTopics(timeout: .seconds(60))[name]
        } until: {
            $0 == Int(partitions)
        }
        await admin.close()
    }

    func record(_ text: String, key: String = "k", headers: [KafkaHeader] = [], partition: Int32? = nil)
        -> ProducerRecord
    {
        ProducerRecord(
            topic: name, key: Array(key.utf8), value: Array(text.utf8), headers: headers, partition: partition)
    }

    func partition(_ number: Int32) -> TopicPartition { TopicPartition(topic: name, partition: number) }

    var allPartitions: [TopicPartition] { (0..<partitions).map(partition) }

    /// Everything the topic holds, read by a consumer of its own until the end of every partition.
    func readToEnd() async throws -> [ConsumerRecord] {
        let consumer = try KafkaConsumer(configuration, groupID: nil, enablePartitionEOF: true)
        try await consumer.assign(Dictionary(uniqueKeysWithValues: allPartitions.map { ($0, .beginning) }))
        var records: [ConsumerRecord] = []
        var open = Set(allPartitions)
        try await eventually("end of \(name)", every: .zero) {
            switch try await consumer.next(max: 1000, wait: .milliseconds(200)) {
            case .records(let batch): records += batch
            case .endOfPartition(let partition, _): open.remove(partition)
            case .offsetOutOfRange(let partition): throw TestKitError("\(partition): offset out of range")
            case .assigned, .revoked, .idle: break
            }
            return open.isEmpty
        }
        await consumer.close()
        return records
    }
}

extension ConsumerRecord {
    var text: String { String(decoding: value ?? [], as: UTF8.self) }
}
