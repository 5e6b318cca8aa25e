import Delivery
import Postgres
import Runtime
import Synchronization

/// A delivery whose next attempt may begin.
struct DueRetry: Sendable {
    let recipient: Recipient
    /// The attempt that ended.
    let attempt: Int32
    let chunk: Int32
    let deferrals: Int
    let isResend: Bool
}

/// Attempts to be repeated, whichever sender made them.
struct RetryQueue: Sendable {
    struct DueBlast: Sendable {
        let blast: BlastID
        let count: Int
        let hasEnded: Bool
    }

    /// Up to when a retry of blast `b` is due: all of them once it is cancelled or its time has passed, so that their
    /// recipients are told at once.
    private static let horizon = """
        CASE WHEN \(BlastGate.hasEnded) THEN 'infinity' ELSE clock_timestamp() END
        """

    /// Emergency first, the others in random order, so that senders side by side spread.
    static let blasts = """
        SELECT b.blast_id, d.n, \(BlastGate.hasEnded) AS ended
          FROM blast b
         CROSS JOIN LATERAL (
               SELECT count(*) AS n
                 FROM (SELECT FROM attempt a
                        WHERE a.blast_id = b.blast_id AND a.next_at <= \(horizon) LIMIT 1000) s) d
         WHERE b.state = 'sending' AND d.n > 0
           AND (\(BlastGate.hasEnded)
                OR NOT \(BlastGate.isHeld) AND (b.class = 'emergency' OR \(Wire.guardIsFresh("$2"))))
         ORDER BY b.class = 'emergency' DESC, random()
         LIMIT $1
        """
    /// As ``Channel`` tells it from an address.
    private static let channel = "CASE WHEN r.address ~ '^[+][0-9]*$' THEN 'sms' ELSE 'email' END"
    static let due = """
        SELECT a.recipient_no, a.attempt_no, a.chunk_no, a.state = 'resend' AS resend, a.address_hash, r.address, r.name,
               r.person_ref, r.person_kind, r.school, r.locale, r.fields::text AS fields,
               (SELECT count(*) FROM attempt d
                 WHERE d.blast_id = $1 AND d.recipient_no = a.recipient_no AND d.state = 'deferred') AS deferrals
          FROM attempt a
          JOIN blast b ON b.blast_id = $1
          JOIN recipient r ON r.blast_id = $1 AND r.recipient_no = a.recipient_no
         WHERE a.blast_id = $1 AND a.next_at <= \(horizon) AND \(channel) = ANY ($3::text[])
         ORDER BY a.next_at
         LIMIT $2
           FOR UPDATE OF a SKIP LOCKED
        """

    private static let postpone = """
        UPDATE attempt a SET next_at = clock_timestamp() + (1 + random()) * $4 * interval '1 microsecond'
          FROM unnest($2::int[], $3::int[]) AS l (recipient_no, attempt_no)
         WHERE a.blast_id = $1 AND a.recipient_no = l.recipient_no AND a.attempt_no = l.attempt_no
           AND a.next_at IS NOT NULL
        """

    let database: PostgresPool
    let guardFreshness: Duration

    func blastsWithDue(limit: Int) async throws -> [DueBlast] {
        let rows = try await database.query(
            Self.blasts, [.int(Int64(limit)), .int(guardFreshness.wholeMicroseconds)])
        return try rows.map {
            DueBlast(
                blast: try $0.blastID("blast_id"), count: Int(try $0.int("n")), hasEnded: try $0.bool("ended"))
        }
    }

    /// Puts off held rows, inside the transaction that holds them.
    func postpone(
        _ late: [DueRetry], of blast: BlastID, for pause: Duration, on connection: PostgresConnection
    ) async throws {
        guard !late.isEmpty else { return }
        _ = try await connection.query(
            Self.postpone,
            [
                .uuid(blast), .int4Array(late.map(\.recipient.number)), .int4Array(late.map(\.attempt)),
                .int(pause.wholeMicroseconds),
            ])
    }

    /// Holds up to `limit` due rows of a blast that go over `channels` against other senders while `body` writes their next attempts.
    func pull(
        upTo limit: Int, of blast: BlastID, over channels: [Channel],
        _ body: @Sendable ([DueRetry], PostgresConnection) async throws -> WireResult
    ) async throws -> WireResult {
        try await database.withTransaction { connection in
            let rows = try await connection.query(
                Self.due, [.uuid(blast), .int(Int64(limit)), .textArray(channels.map(\.rawValue))])
            let due = try rows.map { row in
                DueRetry(
                    recipient: try Recipient(row), attempt: try row.int32("attempt_no"),
                    chunk: try row.int32("chunk_no"), deferrals: Int(try row.int("deferrals")),
                    isResend: try row.bool("resend"))
            }
            guard !due.isEmpty else { return .decided([]) }
            return try await body(due, connection)
        }
    }
}

/// What a transaction had prepared, readable after it failed.
final class PulledRetries: Sendable {
    private let prepared = Mutex<[Prepared]>([])
    func set(_ prepared: [Prepared]) { self.prepared.withLock { $0 = prepared } }
    var current: [Prepared] { prepared.withLock { $0 } }
}
