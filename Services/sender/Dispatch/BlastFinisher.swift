import Postgres

/// Declares a blast sent when all its chunks are done and nothing of it is on the wire, in doubt or due again. From then
/// on its document is kept for 60 days.
struct BlastFinisher: Sendable {
    /// What is on the wire or in doubt is few rows in one small index; asked per blast, the planner reads every attempt.
    /// Each state of a chunk has an index of its own, where those that are done are not.
    static let finish = """
        WITH unsettled AS MATERIALIZED (
            SELECT DISTINCT a.blast_id FROM attempt a WHERE a.state IN ('wire', 'in_doubt')
        )
        UPDATE blast b
           SET state = 'sent', sending_ended_at = clock_timestamp(), expires_at = clock_timestamp() + interval '60 days'
         WHERE b.state = 'sending'
           AND EXISTS (SELECT FROM chunk c WHERE c.blast_id = b.blast_id)
           AND NOT EXISTS (SELECT FROM chunk c WHERE c.blast_id = b.blast_id AND c.state = 'requested')
           AND NOT EXISTS (SELECT FROM chunk c WHERE c.blast_id = b.blast_id AND c.state = 'cleared')
           AND NOT EXISTS (SELECT FROM unsettled u WHERE u.blast_id = b.blast_id)
           AND NOT EXISTS (SELECT FROM attempt a WHERE a.blast_id = b.blast_id AND a.next_at IS NOT NULL)
        RETURNING b.blast_id
        """

    let database: PostgresPool

    func finish() async throws {
        _ = try await database.query(Self.finish)
    }
}
