import Contracts
import Delivery
import Kafka
import Postgres
import Runtime

/// Announces on the progress topic that the report of a blast has ended.
///
/// A row remembers each announcement, so that one is made once; dying between the two repeats the record under its id.
struct ExpiryPublisher: Sendable {
    let projection: String
    let database: PostgresPool
    let producer: KafkaProducer

    /// - Parameters:
    ///   - parts: the partitions of this owner.
    ///   - restarts: how often the event history restarted: each time may have emptied the topic.
    ///   - again: what was announced within this time is announced once more: an earlier owner's late progress may stand
    ///     behind it.
    func publish(_ parts: Set<Int32>, restarts: Int64, again: Duration? = nil) async throws {
        let due = try await expired(restarts: restarts, again: again).filter { record in
            parts.contains(Int32(Murmur2.partition(of: record.key, count: Topic.blastProgress.partitions)))
        }
        for start in stride(from: 0, to: due.count, by: 1000) {
            let page = due[start..<min(start + 1000, due.count)]
            try await producer.send(try page.map { try ProducerRecord($0) })
            _ = try await database.query(
                """
                INSERT INTO blast_expiry (projection, blast_id, restarts)
                SELECT $1, blast_id, $3 FROM unnest($2::uuid[]) AS blast_id
                ON CONFLICT (projection, blast_id) DO UPDATE
                   SET restarts = greatest(blast_expiry.restarts, excluded.restarts), announced_at = clock_timestamp()
                """, [.text(projection), .uuidArray(page.map(\.blast)), .int(restarts)])
        }
    }

    /// Expired and not announced since the last restart; what expired longer ago than the topic keeps is left alone.
    private func expired(restarts: Int64, again: Duration?) async throws -> [BlastExpiredRecord] {
        try await database.query(
            """
            SELECT b.blast_id, b.district_id, b.expires_at FROM blast b
             WHERE b.expires_at <= clock_timestamp() AND b.expires_at > clock_timestamp() - $3 * interval '1 second'
               AND NOT EXISTS (SELECT FROM blast_expiry e
                                WHERE e.projection = $1 AND e.blast_id = b.blast_id AND e.restarts >= $2
                                  AND e.announced_at < clock_timestamp() - $4 * interval '1 second')
             ORDER BY b.expires_at
            """,
            [
                .text(projection), .int(restarts),
                .double(Double(Topic.blastProgress.retention.components.seconds)),
                .double(Double((again ?? .zero).components.seconds)),
            ]
        ).map { row in
            BlastExpiredRecord(
                blast: try row.blastID("blast_id"), district: DistrictID(try row.int("district_id")),
                expiredAtMicroseconds: try row.timestampMicroseconds("expires_at"))
        }
    }
}
