import Postgres

/// Declares a blast sent when all its chunks are done and nothing of it is on the wire, in doubt or due again. From then
/// on its document is kept for 60 days.
struct BlastFinisher: Sendable {
    static let finish = """
        UPDATE blast b
           SET state = 'sent', sending_ended_at = clock_timestamp(), expires_at = clock_timestamp() + interval '60 days'
         WHERE b.state = 'sending'
           AND EXISTS (SELECT FROM chunk c WHERE c.blast_id = b.blast_id)
           AND NOT EXISTS (SELECT FROM chunk c WHERE c.blast_id = b.blast_id AND c.state IN ('requested', 'cleared'))
           AND NOT EXISTS (SELECT FROM attempt a WHERE a.blast_id = b.blast_id AND a.state IN ('wire', 'in_doubt'))
           AND NOT EXISTS (SELECT FROM attempt a WHERE a.blast_id = b.blast_id AND a.next_at IS NOT NULL)
        RETURNING b.blast_id
        """

    let database: PostgresPool

    func finish() async throws {
        _ = try await database.query(Self.finish)
    }
}
