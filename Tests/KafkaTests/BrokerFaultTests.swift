import Kafka
import TestKit
import Testing

@Suite struct BrokerFaultTests {
    @Test func `a broker that comes back empty is noticed, and the same producer publishes again`() async throws {
        let stack = try await LocalStack.start("kafka-restart")
        do {
            let topic = try await TestTopic.create("restart", on: stack)
            let outbox = try KafkaProducer(topic.configuration, messageTimeout: nil)
            do {
                try await restart(stack, topic, outbox)
            } catch {
                await outbox.close(timeout: .zero)
                throw error
            }
            await outbox.close(timeout: .seconds(5))
        } catch {
            try await stack.stop()
            throw error
        }
        try await stack.stop()
    }

    private func restart(_ stack: LocalStack, _ topic: TestTopic, _ outbox: KafkaProducer) async throws {
        let consumer = try KafkaConsumer(topic.configuration, groupID: nil)
        try await outbox.send((0..<100).map { topic.record("before \($0)") })
        let firstID = try #require(try await outbox.clusterID(timeout: .seconds(60)))
        #expect(try await consumer.clusterID(timeout: .seconds(60)) == firstID)

        try await stack.restartBroker()

        let secondID = try await eventually("the producer sees the new cluster") {
            try? await outbox.clusterID(timeout: .seconds(2))
        } until: {
            $0 != nil && $0 != firstID
        }
        _ = try await eventually("the consumer sees the new cluster") {
            try? await consumer.clusterID(timeout: .seconds(2))
        } until: {
            $0 == secondID
        }

        // The topic is missing, and the broker knows nothing of the producer any more.
        try await withThrowingTaskGroup { group in
            group.addTask { try await publish((0..<100).map { topic.record("after \($0)") }, with: outbox) }
            group.addTask { try await topic.create() }
            do {
                while try await group.next() != nil {}
            } catch {
                await outbox.close(timeout: .zero)
                throw error
            }
        }

        let texts = try await topic.readToEnd().map(\.text)
        #expect(Set(texts) == Set((0..<100).map { "after \($0)" }))
        await consumer.close()
    }

    private func publish(_ records: [ProducerRecord], with producer: KafkaProducer) async throws {
        try await eventually("published") {
            do {
                try await producer.send(records)
                return true
            } catch let error as KafkaError where error.isRetriable {
                return false
            }
        }
    }

    @Test func `without a broker a send with a limit fails and says so`() async throws {
        let nowhere = KafkaConfiguration(bootstrapServers: "127.0.0.1:1", clientID: "kafka-tests")
        let producer = try KafkaProducer(nowhere, messageTimeout: .milliseconds(300))
        let record = ProducerRecord(topic: "t", key: [], value: [1], headers: [])
        let error = await #expect(throws: KafkaError.self) { try await producer.send([record]) }
        #expect(error?.code == .messageTimedOut)
        #expect(error?.isRetriable == true)
        #expect(error?.isFatal == false)
        try await eventually("what is wrong is said") { producer.lastError?.contains("127.0.0.1:1") == true }
        await producer.close(timeout: .zero)
    }

    @Test func `closing frees a send that would wait for ever, and refuses the next`() async throws {
        let nowhere = KafkaConfiguration(bootstrapServers: "127.0.0.1:1", clientID: "kafka-tests")
        let producer = try KafkaProducer(nowhere, messageTimeout: nil)
        let record = ProducerRecord(topic: "t", key: [], value: [1], headers: [])
        async let waiting: Void = producer.send([record])
        try await eventually("the record is under way") { producer.lastError != nil }
        await producer.close(timeout: .milliseconds(100))
        do {
            try await waiting
            Issue.record("the send returned although nothing acknowledged it")
        } catch {
            #expect(error is KafkaError)
        }
        let refused = await #expect(throws: KafkaError.self) { try await producer.send([record]) }
        #expect(refused?.code == .closed)
        await producer.close(timeout: .seconds(5))
    }

    @Test func `a missing topic fails a send with a limit and does not hold up other topics`() async throws {
        let topic = try await TestTopic.create("present", on: .shared())
        let patient = KafkaConfiguration(
            bootstrapServers: topic.configuration.bootstrapServers, clientID: "kafka-tests",
            overrides: ["topic.metadata.propagation.max.ms": "60000"])
        let producer = try KafkaProducer(patient, messageTimeout: nil)
        let absent = TestTopic(name: "absent-\(topic.name)", partitions: 1, configuration: topic.configuration)
        async let late: Void = producer.send([absent.record("1"), absent.record("2")])
        try await producer.send([topic.record("now")])
        try await absent.create()
        try await late
        #expect(try await absent.readToEnd().map(\.text) == ["1", "2"])
        await producer.close(timeout: .seconds(5))

        let limited = try KafkaProducer(topic.configuration, messageTimeout: .seconds(60))
        let missing = ProducerRecord(topic: "missing-\(topic.name)", key: [], value: [1], headers: [])
        let error = await #expect(throws: KafkaError.self) { try await limited.send([missing]) }
        #expect(error.map { [.unknownTopic, .unknownTopicOrPartition].contains($0.code) } == true)
        await limited.close(timeout: .seconds(5))
    }

    @Test func `a property that librdkafka does not know is named`() {
        let configuration = KafkaConfiguration(
            bootstrapServers: "127.0.0.1:1", clientID: "kafka-tests", overrides: ["no.such.property": "1"])
        let error = #expect(throws: KafkaError.self) { try KafkaProducer(configuration, messageTimeout: nil) }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.reason.contains("no.such.property") == true)
    }
}
