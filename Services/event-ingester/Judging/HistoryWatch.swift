import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Notices that the event history restarted (an emptied broker) and has the opens and clicks that were lost with it
/// published again: those that were reported and that the delivery's status lacks.
///
/// One sweep follows a restart and one more half a minute later, for what the old broker had acknowledged at its very
/// end. A process that starts into a restarted history does the same, since the restart may have gone unnoticed.
struct HistoryWatch: Service {
    private static let interval = Duration.seconds(2)
    private static let secondSweep = Duration.seconds(30)
    private static let rangeSize = 20_000

    let context: ProgramContext
    let database: PostgresPool

    func run() async throws {
        let stuck = context.stuckLoop("history")
        let outage = OutageLog("looking for lost opens and clicks", logger: context.logger)
        var backoff = Backoff(initial: .milliseconds(500), maximum: .seconds(10))
        var swept: Int64 = 0
        var again: ContinuousClock.Instant?
        while !Task.isShuttingDownGracefully {
            try Task.checkCancellation()
            stuck.turn()
            var wait = Self.interval
            do {
                let restarts = try await database.query(Self.restartsSQL).first?.int("restarts") ?? 0
                if restarts > swept {
                    try await sweep(stuck)
                    swept = restarts
                    again = .now + Self.secondSweep
                } else if let due = again, due <= .now {
                    try await sweep(stuck)
                    again = nil
                }
                outage.worked()
                backoff.reset()
            } catch {
                outage.failed(error)
                wait = backoff.next()
            }
            if try await pause(for: wait) { return }
        }
    }

    private func sweep(_ stuck: StuckLoop) async throws {
        var reopened = 0
        for blast in try await database.query(Self.blastsSQL) {
            let id = try blast.uuid("blast_id")
            let audience = Int(try blast.int("audience"))
            for first in stride(from: 1, through: audience, by: Self.rangeSize) {
                guard !Task.isShuttingDownGracefully else { return }
                stuck.turn()
                reopened += try await database.query(
                    Self.reopenSQL,
                    [.uuid(id), .int4(Int32(first)), .int4(Int32(clamping: first + Self.rangeSize - 1))]
                ).affectedRows
            }
        }
        if reopened > 0 {
            context.logger.warning(
                "the event history restarted; opens and clicks are published again",
                metadata: ["count": .stringConvertible(reopened)])
        }
    }

    private static let restartsSQL = """
        SELECT coalesce(sum(incarnation - 1), 0)::bigint AS restarts FROM projector_partition
        """

    private static let blastsSQL = """
        SELECT blast_id, audience FROM blast
         WHERE state <> 'draft' AND (expires_at IS NULL OR expires_at > clock_timestamp())
         ORDER BY blast_id DESC
        """

    /// The first hit of each delivery and fact carries the event; the others repeat it.
    private static let reopenSQL = """
        UPDATE tracking_hit h SET reported_at = NULL
          FROM (SELECT DISTINCT ON (t.recipient_no, t.fact) t.hit_id
                  FROM tracking_hit t
                  JOIN delivery_status s ON s.blast_id = $1 AND s.recipient_no = t.recipient_no
                 WHERE t.blast_id = $1 AND t.recipient_no BETWEEN $2 AND $3
                   AND t.fact IS NOT NULL AND s.facts & (1::bigint << t.fact::int) = 0
                 ORDER BY t.recipient_no, t.fact, t.at, t.hit_id) lost
         WHERE h.blast_id = $1 AND h.hit_id = lost.hit_id AND h.reported_at IS NOT NULL
        """
}
