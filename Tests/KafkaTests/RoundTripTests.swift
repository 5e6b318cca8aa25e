import Kafka
import TestKit
import Testing

@Suite struct RoundTripTests {
    @Test func `keys, values and headers come back byte for byte, and absent is not empty`() async throws {
        let topic = try await TestTopic.create("bytes", partitions: 2, on: .shared())
        let headers = [
            KafkaHeader(name: "ce_type", text: "first"), KafkaHeader(name: "ce_type", text: "second"),
            KafkaHeader(name: "raw", value: [0xff, 0x00, 0x0a]), KafkaHeader(name: "empty", value: []),
        ]
        let producer = try KafkaProducer(topic.configuration, messageTimeout: .seconds(60))
        try await producer.send([
            ProducerRecord(topic: topic.name, key: [0, 255], value: [1, 0, 2], headers: headers, partition: 1),
            ProducerRecord(topic: topic.name, key: [], value: [], headers: [], partition: 1),
            ProducerRecord(topic: topic.name, key: [7], value: nil, headers: [], partition: 1),
        ])
        await producer.close(timeout: .seconds(5))

        let records = try await topic.readToEnd()
        #expect(records.map(\.topicPartition) == Array(repeating: topic.partition(1), count: 3))
        #expect(records.map(\.offset) == [0, 1, 2])
        #expect(records.map(\.key) == [[0, 255], [], [7]])
        #expect(records.map(\.value) == [[1, 0, 2], [], nil])
        #expect(records.first?.headers == headers)
        #expect(records.first?.header("ce_type") == "second")
        #expect(records.first?.header("raw") == nil)
        #expect(records.first?.header("empty") == "")
        #expect(records.allSatisfy { $0.timestampMs > 1_600_000_000_000 })
    }

    @Test func `a send that has returned is on the broker`() async throws {
        let topic = try await TestTopic.create("acknowledged", on: .shared())
        // A send that returned on hand-over to librdkafka would be half a second ahead of the broker.
        let configuration = KafkaConfiguration(
            bootstrapServers: topic.configuration.bootstrapServers, clientID: "kafka-tests",
            overrides: ["linger.ms": "500"])
        let producer = try KafkaProducer(configuration, messageTimeout: .seconds(60))
        for number in 1...3 {
            try await producer.send([topic.record("\(number)")])
            #expect(try await topic.readToEnd().map(\.text) == (1...number).map(String.init))
        }
        await producer.close(timeout: .seconds(5))
    }

    @Test func `hundreds of concurrent senders lose and repeat nothing, each in order`() async throws {
        let topic = try await TestTopic.create("concurrent", partitions: 3, on: .shared())
        let producer = try KafkaProducer(topic.configuration, messageTimeout: .seconds(60))
        try await withThrowingTaskGroup { group in
            for sender in 0..<200 {
                group.addTask {
                    for number in 0..<20 {
                        try await producer.send([topic.record("\(number)", key: "sender-\(sender)")])
                    }
                }
            }
            try await group.waitForAll()
        }
        await producer.close(timeout: .seconds(5))

        let bySender = Dictionary(grouping: try await topic.readToEnd()) { $0.key ?? [] }
        #expect(bySender.count == 200)
        for records in bySender.values {
            #expect(records.map(\.text) == (0..<20).map(String.init))
        }
    }

    @Test func `more records than librdkafka's queue holds are all delivered`() async throws {
        let topic = try await TestTopic.create("full-queue", on: .shared())
        let configuration = KafkaConfiguration(
            bootstrapServers: topic.configuration.bootstrapServers, clientID: "kafka-tests",
            overrides: ["queue.buffering.max.messages": "50"])
        let producer = try KafkaProducer(configuration, messageTimeout: nil)
        try await producer.send((0..<2000).map { topic.record("\($0)") })
        await producer.close(timeout: .seconds(5))
        #expect(try await topic.readToEnd().map(\.text) == (0..<2000).map(String.init))
    }

    @Test func `Murmur2 names the partition the broker's clients choose`() async throws {
        let topic = try await TestTopic.create("placement", partitions: 7, on: .shared())
        let producer = try KafkaProducer(topic.configuration, messageTimeout: .seconds(60))
        let keys = (0..<300).map { length in (0..<length % 23).map { UInt8(truncatingIfNeeded: length * 31 + $0 * 7) } }
        try await producer.send(
            keys.map { ProducerRecord(topic: topic.name, key: $0, value: [1], headers: []) })
        await producer.close(timeout: .seconds(5))

        let records = try await topic.readToEnd()
        #expect(records.count == keys.count)
        #expect(Set(records.map(\.topicPartition.partition)).count == 7)
        for record in records {
            let expected = Murmur2.partition(of: record.key ?? [], count: 7)
            #expect(Int(record.topicPartition.partition) == expected, "key \(record.key ?? [])")
        }
    }
}
