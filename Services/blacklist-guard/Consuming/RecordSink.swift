import Kafka

/// What a ``ConsumerLoop`` does with the records of its topics.
///
/// Records come at least once; `apply` makes them durable before it returns, and doing it twice equals once.
protocol RecordSink {
    /// Whether ends of partitions are reported and reading may be renewed.
    var watchesEnds: Bool { get }

    /// A session with the broker begins. The cluster may be another one than before.
    mutating func open(cluster: String) async throws
    /// Where the partitions are read from.
    mutating func starts(of partitions: [TopicPartition]) async throws -> [TopicPartition: StartOffset]
    mutating func apply(_ records: [ConsumerRecord]) async throws
    /// The broker no longer has what comes next in the partition, which is read from its beginning afterwards. The old
    /// position is given up only when this has returned.
    mutating func lostRecords(of partition: TopicPartition) async throws
    /// No partition is read any more.
    mutating func release()

    /// Asked between steps: true makes the loop fetch anew from where it stands, so that what comes next was fetched
    /// after this call.
    mutating func beginProof(afterRecords: Bool) async throws -> Bool
    /// The whole partition has been handed out.
    mutating func reachedEnd(of partition: TopicPartition, nextOffset: Int64) async throws
    /// Records up to here have been applied.
    mutating func advanced(_ next: [TopicPartition: Int64], consumer: KafkaConsumer) async throws
}

extension RecordSink {
    var watchesEnds: Bool { false }
    mutating func open(cluster: String) async throws {}
    mutating func starts(of partitions: [TopicPartition]) async throws -> [TopicPartition: StartOffset] {
        Dictionary(uniqueKeysWithValues: partitions.map { ($0, .committed) })
    }
    mutating func lostRecords(of partition: TopicPartition) async throws {}
    mutating func release() {}
    mutating func beginProof(afterRecords: Bool) async throws -> Bool { false }
    mutating func reachedEnd(of partition: TopicPartition, nextOffset: Int64) async throws {}
    mutating func advanced(_ next: [TopicPartition: Int64], consumer: KafkaConsumer) async throws {}
}
