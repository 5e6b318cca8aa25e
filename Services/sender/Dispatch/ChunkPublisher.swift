import Contracts
import Delivery
import Kafka
import Postgres
import Runtime

/// Asks the guard to screen chunks, from their rows, and asks again for those that stay without an answer:
/// after `repeatAfter`, and then ever more seldom, so that a guard that comes back after hours finds a few requests per
/// chunk and no flood. What was cleared before anything could be asked (an emergency without a broker) is asked once.
struct ChunkPublisher: Sendable {
    private static let batchMax = 200

    static let unreported = """
        SELECT c.blast_id, c.chunk_no, c.district_id, c.class = 'emergency' AS emergency, c.first_no, c.last_no,
               \(BlastGate.began) AS began
          FROM chunk c JOIN blast b ON b.blast_id = c.blast_id
         WHERE (c.state = 'requested' OR c.requested_reported_at IS NULL) AND b.state IN ('sending', 'sent')
           AND (c.requested_reported_at IS NULL
                OR c.requested_reported_at < clock_timestamp() - greatest(
                       $2 * interval '1 microsecond', (clock_timestamp() - \(BlastGate.began)) / 4))
         ORDER BY c.class = 'emergency' DESC, c.blast_id, c.chunk_no
         LIMIT $1
           FOR UPDATE OF c SKIP LOCKED
        """
    private static let reported = """
        UPDATE chunk c SET requested_reported_at = clock_timestamp()
          FROM unnest($1::uuid[], $2::int[]) AS r(blast_id, chunk_no)
         WHERE c.blast_id = r.blast_id AND c.chunk_no = r.chunk_no
        """

    let database: PostgresPool
    let producer: KafkaProducer
    let repeatAfter: Duration

    /// Publishes one batch; returns true when there may be more.
    func publish() async throws -> Bool {
        try await database.withTransaction { connection in
            let rows = try await connection.query(
                Self.unreported, [.int(Int64(Self.batchMax)), .int(repeatAfter.wholeMicroseconds)])
            let messages = try rows.map { row in
                ChunkMessage(
                    stage: .requested, blast: try row.blastID("blast_id"),
                    district: DistrictID(try row.int("district_id")), chunkNumber: try row.int32("chunk_no"),
                    firstRecipient: try row.int32("first_no"), lastRecipient: try row.int32("last_no"),
                    isEmergency: try row.bool("emergency"),
                    atMicroseconds: try row.timestampMicroseconds("began"))
            }
            guard !messages.isEmpty else { return false }
            try await producer.send(try messages.map { try ProducerRecord($0) })
            _ = try await connection.query(
                Self.reported,
                [
                    .uuidArray(messages.map(\.blast)),
                    .int4Array(messages.map(\.chunkNumber)),
                ])
            return messages.count == Self.batchMax
        }
    }
}
