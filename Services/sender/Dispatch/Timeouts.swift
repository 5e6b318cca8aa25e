import Delivery
import Postgres
import Runtime

/// Ends the waiting for results that never came: a timeout is a fact that we write.
///
/// `after` the end of sending, a delivery that was accepted and of which nothing final is known becomes `unconfirmed`,
/// which is final and still reads Sent (most mail servers confirm nothing: S-11). One whose receiving side said that it
/// would try longer (`delayed`) and nothing since becomes `expired`. News that comes later counts as ever.
///
/// The fact is a row beside the attempts, published like theirs. A blast is worked through in ranges; any sender does
/// this, and the blast's row makes it one at a time.
struct Timeouts: Sendable {
    static let rangeSize: Int32 = 5000

    private static let next = """
        SELECT blast_id, timeouts_from, audience FROM blast
         WHERE state = 'sent' AND timeouts_from IS NOT NULL
           AND sending_ended_at < clock_timestamp() - $1 * interval '1 microsecond'
         ORDER BY sending_ended_at LIMIT 1
           FOR UPDATE SKIP LOCKED
        """
    private static let isDelayed = "s.facts & \(DeliveryFacts(.delayed).bits) <> 0"
    private static let write = """
        INSERT INTO attempt (blast_id, recipient_no, attempt_no, district_id, chunk_no, state, fact, address_hash,
                             content_hash, reply, wire_at, settled_at)
        SELECT a.blast_id, a.recipient_no, a.attempt_no + 1, a.district_id, a.chunk_no,
               \(AttemptMachine.state(.timedOut)),
               CASE WHEN \(isDelayed) THEN \(DeliveryFact.expired.rawValue)
                    ELSE \(DeliveryFact.unconfirmed.rawValue) END,
               a.address_hash, a.content_hash,
               CASE WHEN \(isDelayed) THEN 'the receiving side was still trying, and nothing was heard since'
                    ELSE 'accepted, and nothing more was heard' END,
               a.wire_at, clock_timestamp()
          FROM attempt a
          JOIN delivery_status s ON s.blast_id = $1 AND s.recipient_no = a.recipient_no
         WHERE a.blast_id = $1 AND a.recipient_no BETWEEN $2 AND $3 AND a.state IN ('accepted', 'resolved_sent')
           AND s.facts & $4 = 0
        ON CONFLICT DO NOTHING
        """
    private static let advance = "UPDATE blast SET timeouts_from = $2 WHERE blast_id = $1"

    let database: PostgresPool
    let after: Duration
    let metrics: SenderMetrics

    /// Works one range; returns true when there may be more.
    func look() async throws -> Bool {
        try await database.withTransaction { connection in
            guard let row = try await connection.query(Self.next, [.int(after.wholeMicroseconds)]).first else {
                return false
            }
            let blast = try row.blastID("blast_id")
            let first = try row.int32("timeouts_from")
            let last = min(try row.int32("audience"), first + Self.rangeSize - 1)
            let written = try await connection.query(
                Self.write, [.uuid(blast), .int4(first), .int4(last), .int(DeliveryFacts.finalMask.bits)])
            let isOver = try row.int32("audience") <= last
            _ = try await connection.query(Self.advance, [.uuid(blast), .int4(isOver ? nil : last + 1)])
            for _ in 0..<written.affectedRows { metrics.settled(.timedOut) }
            return true
        }
    }
}
