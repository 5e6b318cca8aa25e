import Delivery
import Logging
import Postgres
import Runtime

/// Notices that the event history restarted (an emptied broker) and has every fact that was lost with it published
/// again.
///
/// One sweep follows the restart and one more half a minute later, for what the old broker had acknowledged at its very
/// end. A process that starts into a restarted history sweeps once for what is being sent or was just sent.
actor IncarnationWatcher {
    private static let secondSweep = Duration.seconds(30)
    private static let rangeSize: Int64 = 20_000

    private static let blasts = """
        SELECT blast_id, audience FROM blast
         WHERE state <> 'draft' AND (expires_at IS NULL OR expires_at > clock_timestamp())
           AND (NOT $1 OR sending_ended_at IS NULL OR sending_ended_at > clock_timestamp() - interval '1 day')
         ORDER BY blast_id DESC
        """
    static let reopen = """
        UPDATE attempt a SET reported_at = NULL
          FROM delivery_status s
         WHERE a.blast_id = $1 AND a.recipient_no BETWEEN $2 AND $3
           AND s.blast_id = $1 AND s.recipient_no = a.recipient_no
           AND a.fact IS NOT NULL AND a.reported_at IS NOT NULL
           AND s.facts & (1::bigint << a.fact::int) = 0
        """

    private let database: PostgresPool
    private let logger: Logger
    private var known: Int64?
    private var dueSweep: ContinuousClock.Instant?

    init(database: PostgresPool, logger: Logger) {
        self.database = database
        self.logger = logger
    }

    func look() async throws {
        guard let row = try await database.query(EventHistory.read).first else { return }
        let restarts = try row.int("history")
        guard let known else {
            if restarts > 0 { try await sweep(onlyRecent: true) }
            self.known = restarts
            return
        }
        if restarts > known {
            logger.warning("the event history restarted; facts that were lost are published again")
            try await sweep(onlyRecent: false)
            self.known = restarts
            dueSweep = .now + Self.secondSweep
        } else if let dueSweep, dueSweep <= .now {
            try await sweep(onlyRecent: false)
            self.dueSweep = nil
        }
    }

    private func sweep(onlyRecent: Bool) async throws {
        var reopened = 0
        for blast in try await database.query(Self.blasts, [.bool(onlyRecent)]) {
            let id = try blast.blastID("blast_id")
            let audience = try blast.int("audience")
            for first in stride(from: 1, through: max(1, audience), by: Int(Self.rangeSize)) {
                let rows = try await database.query(
                    Self.reopen,
                    [.uuid(id), .int4(Int32(first)), .int4(Int32(clamping: Int64(first) + Self.rangeSize - 1))])
                reopened += rows.affectedRows
            }
        }
        if reopened > 0 { logger.notice("facts reopened", metadata: ["facts": "\(reopened)"]) }
    }
}
