import Kafka
import Runtime

/// One step of a partition's consumer, its records already read against the contract: both happen while the step before
/// is being projected.
struct ReadStep: Sendable {
    let step: ConsumerStep
    /// The step's records, if it brought any.
    let piece: Piece?

    @concurrent
    static func next(
        of consumer: KafkaConsumer, _ setting: PartitionLane.Setting, wait: Duration
    ) async throws -> ReadStep {
        let step = try await consumer.next(max: setting.configuration.batchMax, wait: wait)
        guard case .records(let records) = step else { return ReadStep(step: step, piece: nil) }
        let piece = ThreadClock.charge(setting.metrics.decoding) {
            Piece(records[...], partitions: setting.configuration.sourcePartitions)
        }
        return ReadStep(step: step, piece: piece)
    }
}

/// One transaction's records, with what they say.
struct Piece: Sendable {
    let records: ArraySlice<ConsumerRecord>
    let batch: ReadBatch

    /// - Parameter partitions: how many the topic has.
    init(_ records: ArraySlice<ConsumerRecord>, partitions: Int) {
        self.records = records
        batch = ReadBatch(records, partitions: partitions)
    }
}
