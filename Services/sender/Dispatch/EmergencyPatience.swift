import Logging
import Postgres
import Runtime

/// Clears the chunks of emergency blasts without the guard when its answer stays out for `patience`: an emergency never
/// stops on the guard, nor on the broker between them.
///
/// WIRE checks the blacklist for every message, and the queue passes over what has no usable address and stops what
/// repeats an earlier address, so nothing is sent that screening would have held back. The guard is still asked once:
/// its facts about recipients without a usable address follow when it is back. Limit: what it was asked before the
/// broker lost its records is not asked again.
struct EmergencyPatience: Sendable {
    static let clear = """
        UPDATE chunk c SET state = 'cleared', cleared_at = clock_timestamp()
          FROM blast b
         WHERE b.blast_id = c.blast_id AND b.state = 'sending' AND c.state = 'requested' AND c.class = 'emergency'
           AND \(BlastGate.began) < clock_timestamp() - $1 * interval '1 microsecond'
        RETURNING c.blast_id
        """

    let database: PostgresPool
    let patience: Duration
    let metrics: SenderMetrics
    let logger: Logger

    func clearOverdue() async throws {
        let rows = try await database.query(Self.clear, [.int(patience.wholeMicroseconds)])
        var chunks: [String: Int] = [:]
        for row in rows { chunks["\(try row.blastID("blast_id"))", default: 0] += 1 }
        for (blast, count) in chunks {
            metrics.emergencyUnscreened.increment(by: count)
            logger.critical(
                "an emergency blast is sent without screening: the guard does not answer",
                metadata: ["blast": "\(blast)", "chunks": "\(count)"])
        }
    }
}
