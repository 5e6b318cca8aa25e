import Kafka
import Synchronization
import TestKit
import Testing

@Suite struct ConsumerTests {
    @Test func `members that join and leave lose no record and see none twice`() async throws {
        // Whoever is silent for a session is taken for gone and still reads: a busy machine must not make it so.
        let topic = try await TestTopic.create("rebalance", partitions: 4, session: 6000, on: .shared())
        let store = OffsetStore()
        async let sent = store.produceUntilReleased(to: topic)
        async let first: Void = store.consume(topic) { store.isComplete }
        try await eventually("the first member owns everything") { store.owners(of: topic) == 1 && store.count > 0 }
        async let second: Void = store.consume(topic) { store.isSecondMemberDone }
        try await eventually("both members own partitions") { store.owners(of: topic) == 2 }
        store.finishSecondMember()
        try await second
        try await eventually("the first member owns everything again") { store.owners(of: topic) == 1 }
        store.releaseProducer()
        let total = try await sent
        try await first

        #expect(store.count == total)
        #expect(store.repeated == 0)
        #expect(store.skipped == 0)
    }

    @Test func `reading starts at the committed offset, or at the beginning where there is none`() async throws {
        let topic = try await TestTopic.create("committed", on: .shared())
        let producer = try KafkaProducer(topic.configuration, messageTimeout: .seconds(60))
        try await producer.send((0..<5).map { topic.record("\($0)") })
        await producer.close(timeout: .seconds(5))

        let first = try KafkaConsumer(topic.configuration, groupID: topic.name)
        try await first.assign([topic.partition(0): .committed])
        #expect(try await first.firstRecord().text == "0")
        try await first.commit([topic.partition(0): 3])
        await first.close()

        let second = try KafkaConsumer(topic.configuration, groupID: topic.name)
        try await eventually("the offset is committed") {
            try await second.assign([topic.partition(0): .committed])
            return try await second.firstRecord().text == "3"
        }
        await second.close()
    }

    @Test func `an offset the broker does not have is reported, not replaced`() async throws {
        // The local broker answers nothing beyond the end; librdkafka's built-in mock broker does what Kafka does.
        let mocked = KafkaConfiguration(
            bootstrapServers: "mock", clientID: "kafka-tests",
            overrides: ["test.mock.num.brokers": "1", "allow.auto.create.topics": "true"])
        let consumer = try KafkaConsumer(mocked, groupID: nil, enablePartitionEOF: true)
        let partition = TopicPartition(topic: "out-of-range", partition: 0)
        try await consumer.assign([partition: .offset(1_000_000)])
        let step = try await consumer.firstStep { if case .offsetOutOfRange = $0 { true } else { false } }
        guard case .offsetOutOfRange(partition) = step else {
            Issue.record("\(step)")
            return
        }
        #expect(await consumer.lastError?.contains("out-of-range[0]") == true)

        try await consumer.assign([partition: .beginning])
        let next = try await consumer.firstStep { if case .endOfPartition = $0 { true } else { false } }
        guard case .endOfPartition(partition, nextOffset: 0) = next else {
            Issue.record("\(next)")
            return
        }
        await consumer.close()
    }

    @Test func `a paused partition delivers nothing and goes on where it stopped`() async throws {
        let topic = try await TestTopic.create("pause", on: .shared())
        let producer = try KafkaProducer(topic.configuration, messageTimeout: .seconds(60))
        let consumer = try KafkaConsumer(topic.configuration, groupID: nil, enablePartitionEOF: true)
        try await producer.send([topic.record("before")])
        try await consumer.assign([topic.partition(0): .beginning])
        #expect(try await consumer.firstRecord().text == "before")
        try await consumer.pause([topic.partition(0)])
        try await producer.send([topic.record("while paused")])
        #expect(try await topic.readToEnd().count == 2)
        for _ in 0..<3 {
            if case .records(let records) = try await consumer.next(max: 10, wait: .milliseconds(100)) {
                Issue.record("paused, and yet \(records.map(\.text))")
            }
        }
        try await consumer.resume([topic.partition(0)])
        #expect(try await consumer.firstRecord().text == "while paused")
        let marks = try await consumer.watermarks(topic.partition(0), timeout: .seconds(60))
        #expect(marks == (0, 2))
        await consumer.close()
        await producer.close(timeout: .seconds(5))
    }

    @Test func `the end of a partition names the next offset`() async throws {
        let topic = try await TestTopic.create("end", on: .shared())
        let producer = try KafkaProducer(topic.configuration, messageTimeout: .seconds(60))
        try await producer.send((0..<4).map { topic.record("\($0)") })
        await producer.close(timeout: .seconds(5))
        let consumer = try KafkaConsumer(topic.configuration, groupID: nil, enablePartitionEOF: true)
        try await consumer.assign([topic.partition(0): .beginning])
        var step = ConsumerStep.idle
        try await eventually("end of partition", every: .zero) {
            step = try await consumer.next(max: 10, wait: .milliseconds(200))
            if case .endOfPartition = step { return true } else { return false }
        }
        guard case .endOfPartition(topic.partition(0), nextOffset: 4) = step else {
            Issue.record("\(step)")
            return
        }
        await consumer.close()
    }

    /// librdkafka waits for every answer, and without this one its threads would never end.
    @Test(arguments: [false, true])
    func `a member that closes on an unanswered rebalance is gone, and the next one gets everything`(
        isRevocation: Bool
    ) async throws {
        let topic = try await TestTopic.create("unanswered", partitions: 2, on: .shared())
        let first = try KafkaConsumer(topic.configuration, groupID: topic.name)
        let second = try KafkaConsumer(topic.configuration, groupID: topic.name)
        try await first.subscribe([topic.name])
        var step = try await first.firstStep { _ in false }
        if isRevocation, case .assigned(let partitions) = step {
            try await first.assign(Dictionary(uniqueKeysWithValues: partitions.map { ($0, .beginning) }))
            try await second.subscribe([topic.name])
            step = try await first.firstStep { _ in false }
            guard case .revoked = step else { throw TestKitError("not revoked but \(step)") }
        } else {
            guard case .assigned = step else { throw TestKitError("not assigned but \(step)") }
        }
        let isClosed = Flag()
        Task {
            await first.close()
            isClosed.set()
        }
        try await eventually("the first member is closed") { isClosed.isSet }
        if !isRevocation { try await second.subscribe([topic.name]) }
        var owned: [TopicPartition] = []
        try await eventually("the second member has everything", every: .zero) {
            switch try await second.next(max: 1, wait: .milliseconds(50)) {
            case .assigned(let partitions):
                owned = partitions
                try await second.assign(Dictionary(uniqueKeysWithValues: partitions.map { ($0, .beginning) }))
            case .revoked: try await second.unassign()
            default: break
            }
            return owned.count == 2
        }
        await second.close()
    }

    private final class Flag: Sendable {
        private let state = Mutex(false)
        var isSet: Bool { state.withLock { $0 } }
        func set() { state.withLock { $0 = true } }
    }

    @Test func `a closed consumer answers every call with an error`() async throws {
        let consumer = try KafkaConsumer(
            KafkaConfiguration(bootstrapServers: "127.0.0.1:1", clientID: "kafka-tests"), groupID: "g")
        await consumer.close()
        await consumer.close()
        for _ in 0..<3 {
            let error = await #expect(throws: KafkaError.self) {
                try await consumer.next(max: 1, wait: .seconds(1))
            }
            #expect(error?.code == .closed)
        }
    }
}

extension KafkaConsumer {
    func firstRecord() throws -> ConsumerRecord {
        let step = try firstStep { if case .records = $0 { true } else { false } }
        guard case .records(let records) = step, let record = records.first else {
            throw TestKitError("no record but \(step)")
        }
        return record
    }

    /// The first step that is expected, or else is neither idle nor an end of partition.
    func firstStep(_ isExpected: (ConsumerStep) -> Bool) throws -> ConsumerStep {
        let deadline = ContinuousClock.now + .seconds(120)
        while ContinuousClock.now < deadline {
            let step = try next(max: 1, wait: .milliseconds(200))
            if isExpected(step) { return step }
            switch step {
            case .idle, .endOfPartition: continue
            case .records, .assigned, .revoked, .offsetOutOfRange: return step
            }
        }
        throw TestKitError("no step other than idle within 120 s; last error: \(lastError ?? "none")")
    }
}

/// Keeps offsets with the data, as services do, and notices every record that comes twice or is missing.
private final class OffsetStore: Sendable {
    private struct State {
        var nextOffset: [TopicPartition: Int64] = [:]
        var owner: [TopicPartition: Int] = [:]
        var members = 0
        var count = 0
        var repeated = 0
        var skipped = 0
        var isSecondMemberDone = false
        var isProducerReleased = false
        var total: Int?
    }

    private let state = Mutex(State())

    var count: Int { state.withLock { $0.count } }
    var repeated: Int { state.withLock { $0.repeated } }
    var skipped: Int { state.withLock { $0.skipped } }
    var isComplete: Bool { state.withLock { $0.count >= $0.total ?? .max } }
    var isSecondMemberDone: Bool { state.withLock { $0.isSecondMemberDone } }

    func finishSecondMember() { state.withLock { $0.isSecondMemberDone = true } }
    func releaseProducer() { state.withLock { $0.isProducerReleased = true } }

    /// Keeps records flowing while members come and go, never far ahead of the consumers.
    func produceUntilReleased(to topic: TestTopic) async throws -> Int {
        let producer = try KafkaProducer(topic.configuration, messageTimeout: .seconds(60))
        var sent = 0
        repeat {
            try await producer.send((sent..<sent + 20).map { topic.record("\($0)", key: "key-\($0)") })
            sent += 20
            try await eventually("consumers follow", every: .milliseconds(5)) {
                count + 500 > sent
            }
        } while !state.withLock { $0.isProducerReleased }
        await producer.close(timeout: .seconds(5))
        state.withLock { $0.total = sent }
        return sent
    }

    func owners(of topic: TestTopic) -> Int {
        state.withLock { state in
            guard state.owner.count == Int(topic.partitions) else { return 0 }
            return Set(state.owner.values).count
        }
    }

    func consume(_ topic: TestTopic, until isDone: @Sendable () -> Bool) async throws {
        let member = state.withLock { state in
            state.members += 1
            return state.members
        }
        let consumer = try KafkaConsumer(topic.configuration, groupID: topic.name)
        try await consumer.subscribe([topic.name])
        try await eventually("member \(member) is done", every: .zero) {
            switch try await consumer.next(max: 50, wait: .milliseconds(50)) {
            case .records(let batch): apply(batch, member: member)
            case .assigned(let partitions): try await consumer.assign(take(partitions, member: member))
            case .revoked(let partitions):
                release(partitions, member: member)
                try await consumer.unassign()
            case .offsetOutOfRange(let partition): throw TestKitError("\(partition): offset out of range")
            case .endOfPartition, .idle: break
            }
            return isDone()
        }
        release(topic.allPartitions, member: member)
        await consumer.close()
    }

    private func take(_ partitions: [TopicPartition], member: Int) -> [TopicPartition: StartOffset] {
        state.withLock { state in
            for partition in partitions { state.owner[partition] = member }
            return Dictionary(
                uniqueKeysWithValues: partitions.map { ($0, .offset(state.nextOffset[$0] ?? 0)) })
        }
    }

    private func release(_ partitions: [TopicPartition], member: Int) {
        state.withLock { state in
            for partition in partitions where state.owner[partition] == member { state.owner[partition] = nil }
        }
    }

    private func apply(_ records: [ConsumerRecord], member: Int) {
        state.withLock { state in
            for record in records {
                let expected = state.nextOffset[record.topicPartition] ?? 0
                if record.offset < expected { state.repeated += 1 }
                if record.offset > expected { state.skipped += 1 }
                state.count += 1
                state.nextOffset[record.topicPartition] = record.offset + 1
            }
        }
    }
}
