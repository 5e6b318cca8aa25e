import Kafka
import Runtime

/// One step of the consumer, its records already read against the contract: both happen while the step before is being
/// projected.
struct ReadStep: Sendable {
    let step: ConsumerStep
    /// The step's records by partition, in offset order, in pieces of one transaction each.
    let pieces: [Int32: [Piece]]

    struct Piece: Sendable {
        let records: [ConsumerRecord]
        let batch: ReadBatch
    }

    /// - Parameters:
    ///   - batchMax: most records of one transaction.
    ///   - partitions: how many partitions may each have that many in one step.
    @concurrent
    static func next(
        of consumer: KafkaConsumer, batchMax: Int, partitions: Int, wait: Duration, decoding: Counter?
    ) async throws -> ReadStep {
        let step = try await consumer.next(max: batchMax * max(1, partitions), wait: wait)
        guard case .records(let records) = step else { return ReadStep(step: step, pieces: [:]) }
        let pieces = ThreadClock.charge(decoding) {
            Dictionary(grouping: records, by: \.topicPartition.partition).mapValues { records in
                stride(from: 0, to: records.count, by: batchMax).map { start in
                    let piece = Array(records[start..<min(start + batchMax, records.count)])
                    return Piece(records: piece, batch: ReadBatch(piece))
                }
            }
        }
        return ReadStep(step: step, pieces: pieces)
    }

    /// Says something about the group; anything else is about what was assigned before.
    var isAboutTheGroup: Bool {
        switch step {
        case .assigned, .revoked: true
        default: false
        }
    }
}
