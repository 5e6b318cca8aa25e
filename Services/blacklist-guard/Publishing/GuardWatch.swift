import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Notices that the event history began anew (an emptied broker, a recreated topic) and has everything published
/// again that the new history lacks: the screened chunks of blasts that are being sent or ended within a day, and the
/// whole blacklist. Rows say which history they were published into, so a guard that was down meanwhile notices too.
struct GuardWatch: Service {
    let pool: PostgresPool
    let interval: Duration
    let wakes: [Wake]
    let metrics: GuardMetrics
    let stuck: StuckLoop
    let logger: Logger

    private static let rowsMax = 1_000

    func run() async throws {
        var trouble = Trouble(loop: "watch", logger: logger)
        var known: Int64 = -1
        try await everyInterval(interval) {
            do {
                known = try await look(known)
                try await measure()
                trouble.passed()
                stuck.turn()
            } catch let error as CancellationError {
                throw error
            } catch {
                _ = trouble.happened(error)
            }
        }
    }

    /// Returns the history for which everything has been looked through.
    func look(_ known: Int64) async throws -> Int64 {
        let history = try await pool.query(EventHistory.read)[0].int("history")
        guard history != known else { return known }
        var again = 0
        for statement in [Self.chunksAgain, Self.entriesAgain] {
            while true {
                let count = try await pool.query(statement, [.int(history), .int(Int64(Self.rowsMax))]).affectedRows
                again += count
                if count < Self.rowsMax { break }
            }
        }
        if again > 0 {
            logger.warning(
                "the event history began anew; publishing again",
                metadata: ["history": "\(history)", "rows": "\(again)"])
            for wake in wakes { wake.signal() }
        }
        return history
    }

    private func measure() async throws {
        let row = try await pool.query(Self.backlog)[0]
        metrics.unreportedChunks.set(Int(try row.int("chunks")))
        metrics.unreportedEntries.set(Int(try row.int("entries")))
        metrics.freshnessAge.set(try row.double("age"))
    }

    private static let chunksAgain = """
        UPDATE screened_chunk SET reported_at = NULL WHERE (blast_id, chunk_no) IN (
            SELECT s.blast_id, s.chunk_no FROM blast b JOIN screened_chunk s USING (blast_id)
             WHERE (b.state = 'sending' OR b.sending_ended_at > now() - interval '1 day')
               AND s.reported_at IS NOT NULL AND s.reported_history < $1
             ORDER BY s.blast_id, s.chunk_no LIMIT $2 FOR UPDATE OF s)
        """

    private static let entriesAgain = """
        UPDATE blacklist SET reported_at = NULL WHERE (district_id, address_hash) IN (
            SELECT district_id, address_hash FROM blacklist
             WHERE reported_at IS NOT NULL AND reported_history < $1
             ORDER BY district_id, address_hash LIMIT $2 FOR UPDATE)
        """

    private static let backlog = """
        SELECT (SELECT count(*) FROM screened_chunk WHERE reported_at IS NULL) AS chunks,
               (SELECT count(*) FROM blacklist WHERE reported_at IS NULL) AS entries,
               (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(caught_up_at)), 0)::float8
                  FROM guard_progress) AS age
        """
}
