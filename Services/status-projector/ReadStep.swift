import Kafka
import Runtime

/// One step of the consumer, its records already read against the contract: both happen while the step before is being
/// projected.
struct ReadStep: Sendable {
    let step: ConsumerStep
    /// The step's records by partition, in offset order, in pieces of one transaction each.
    let pieces: [Int32: [Piece]]

    struct Piece: Sendable {
        let records: ArraySlice<ConsumerRecord>
        let batch: ReadBatch
    }

    /// How many transactions' records one step may bring: enough for every partition, or for one to have its next
    /// ones at hand.
    private static let piecesMax = 4

    /// - Parameters:
    ///   - batchMax: most records of one transaction.
    ///   - partitions: how many the topic has.
    @concurrent
    static func next(
        of consumer: KafkaConsumer, batchMax: Int, partitions: Int, wait: Duration, decoding: Counter?
    ) async throws -> ReadStep {
        let step = try await consumer.next(max: batchMax * piecesMax, wait: wait)
        guard case .records(let records) = step else { return ReadStep(step: step, pieces: [:]) }
        let pieces = ThreadClock.charge(decoding) { Self.pieces(of: records, batchMax, partitions) }
        return ReadStep(step: step, pieces: pieces)
    }

    private static func pieces(
        of records: [ConsumerRecord], _ batchMax: Int, _ partitions: Int
    ) -> [Int32: [Piece]] {
        let isOfOnePartition = records.allSatisfy { $0.topicPartition.partition == records[0].topicPartition.partition }
        let byPartition =
            isOfOnePartition
            ? [records[0].topicPartition.partition: records]
            : Dictionary(grouping: records, by: \.topicPartition.partition)
        return byPartition.mapValues { records in
            stride(from: 0, to: records.count, by: batchMax).map { start in
                let piece = records[start..<min(start + batchMax, records.count)]
                return Piece(records: piece, batch: ReadBatch(piece, partitions: partitions))
            }
        }
    }

    /// Says something about the group; anything else is about what was assigned before.
    var isAboutTheGroup: Bool {
        switch step {
        case .assigned, .revoked: true
        default: false
        }
    }
}
