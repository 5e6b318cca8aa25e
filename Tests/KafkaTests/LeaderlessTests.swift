import Kafka
import TestKit
import Testing

/// Brokers that answer with an error, or not at all, about a partition that is being read.
@Suite struct `A partition that is answered for with an error` {
    private static let partition = TopicPartition(topic: "events", partition: 0)

    /// A cluster with six records, and a reader of them from the third on.
    private static func with(_ body: (MockCluster, KafkaConsumer) async throws -> Void) async throws {
        let cluster = try MockCluster()
        try cluster.create(partition.topic, partitions: 1)
        let producer = try KafkaProducer(cluster.configuration, messageTimeout: .seconds(60))
        try await producer.send(
            (0..<6).map { ProducerRecord(topic: partition.topic, key: [1], value: Array("\($0)".utf8), headers: []) })
        await producer.close(timeout: .seconds(5))
        let consumer = try KafkaConsumer(cluster.configuration, groupID: nil, enablePartitionEOF: true)
        do {
            try await body(cluster, consumer)
        } catch {
            await consumer.close()
            throw error
        }
        await consumer.close()
    }

    /// The offsets of everything that is handed out before the end; where the partition is said to have gone, reading
    /// begins again behind the last record, as services do.
    private static func readToEnd(_ consumer: KafkaConsumer, from first: Int64) async throws -> [Int64] {
        var offsets: [Int64] = []
        var isAtEnd = false
        try await eventually("the end is reached", every: .zero) {
            do {
                switch try await consumer.next(max: 1, wait: .milliseconds(200)) {
                case .records(let records): offsets += records.map(\.offset)
                case .endOfPartition(_, let nextOffset):
                    #expect(nextOffset == 6)
                    isAtEnd = true
                case .idle: break
                case .assigned, .revoked, .offsetOutOfRange: throw TestKitError("it says what it does not know")
                }
            } catch let error as KafkaError where error.code == .unknownTopicOrPartition {
                try await consumer.assign([partition: .offset((offsets.last ?? first - 1) + 1)])
            }
            return isAtEnd
        }
        return offsets
    }

    @Test func `has neither records nor an end while it has no leader, and goes on with the next record`() async throws
    {
        try await Self.with { cluster, consumer in
            try cluster.setLeader(of: Self.partition, isThere: false)
            try await consumer.assign([Self.partition: .offset(2)])
            for _ in 1...3 {
                await #expect(throws: KafkaError.self) {
                    try await consumer.leaderWatermarks(Self.partition, timeout: .milliseconds(300))
                }
                guard case .idle = try await consumer.next(max: 1, wait: .milliseconds(200)) else {
                    Issue.record("a partition without a leader says something")
                    return
                }
            }
            try cluster.setLeader(of: Self.partition, isThere: true)
            #expect(try await Self.readToEnd(consumer, from: 2) == [2, 3, 4, 5])
            #expect(try await consumer.leaderWatermarks(Self.partition, timeout: .seconds(60)).high == 6)
        }
    }

    /// Unknown topic, leader not available, not leader, replica not available, storage error, fenced and unknown leader
    /// epoch, offset not available.
    @Test(arguments: [3, 5, 6, 9, 56, 74, 76, 78] as [Int32])
    func `loses no record, whichever error it is`(code: Int32) async throws {
        try await Self.with { cluster, consumer in
            let error = KafkaError.Code(rawValue: code)
            cluster.answer(.fetch, with: [error, error])
            cluster.answer(.listOffsets, with: [error])
            try await consumer.assign([Self.partition: .offset(2)])
            #expect(try await Self.readToEnd(consumer, from: 2) == [2, 3, 4, 5])
        }
    }
}
