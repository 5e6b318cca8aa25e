import Contracts
import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Removes what was parked longer ago than the event topic keeps its records, at start and every hour: it quotes mail
/// servers and can hold anything. Two days longer than the topic, so that a rebuild finds what it compares with.
struct ParkedJanitor: Service {
    private let database: PostgresPool
    private let logger: Logger
    private let keep = Topic.deliveryEvents.retention + .seconds(2 * 24 * 3600)

    init(context: ProgramContext, database: PostgresPool) {
        self.database = database
        logger = context.logger
    }

    func run() async throws {
        let outage = OutageLog("removing old parked records", logger: logger)
        try await everyInterval(.seconds(3600)) {
            do {
                for statement in Self.statements { try await remove(statement) }
                outage.worked()
            } catch {
                outage.failed(error)
            }
        }
    }

    private func remove(_ statement: String) async throws {
        while try await database.query(statement, [.int(keep.components.seconds)]).affectedRows > 0 {}
    }

    /// A thousand at a time: nothing is locked for long.
    private static let statements = ["dead_letter": "parked_at", "late_event": "seen_at"].map { table, time in
        """
        DELETE FROM \(table) WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM \(table) WHERE \(time) < clock_timestamp() - $1 * interval '1 second' LIMIT 1000))
        """
    }
}
