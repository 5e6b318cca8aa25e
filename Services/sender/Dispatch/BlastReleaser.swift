import Logging
import Postgres
import Runtime

/// Begins what waited for its time or its approval.
///
/// A blast that ended while it waited begins too: only so is each of its recipients told. Any sender does this; the row
/// makes one of them do it, by the database's clock.
struct BlastReleaser: Sendable {
    static let release = """
        UPDATE blast b SET state = 'sending', released_at = clock_timestamp()
         WHERE b.blast_id IN (
                   SELECT b.blast_id FROM blast b
                    WHERE b.state = 'scheduled' AND (b.send_at <= clock_timestamp() OR \(BlastGate.hasEnded))
                       OR b.state = 'awaiting_approval'
                          AND (b.approval_until <= clock_timestamp() OR b.cancelled_at IS NOT NULL
                               OR b.not_after <= clock_timestamp())
                      FOR UPDATE SKIP LOCKED)
        RETURNING b.blast_id, \(BlastGate.endReason) AS ended
        """

    let database: PostgresPool
    let logger: Logger

    func release() async throws {
        for row in try await database.query(Self.release) {
            let blast = try row.blastID("blast_id")
            if let ended = try row.optionalString("ended") {
                logger.notice(
                    "the recipients of a blast that waited are told that it ended",
                    metadata: ["blast": "\(blast)", "reason": "\(ended)"])
            } else {
                logger.notice("a blast that waited begins", metadata: ["blast": "\(blast)"])
            }
        }
    }
}
