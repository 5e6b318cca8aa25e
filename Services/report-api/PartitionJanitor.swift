import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Keeps the daily partitions ahead of the days: from yesterday to two weeks from now, at start and every hour.
struct PartitionJanitor: Service {
    private let database: PostgresPool
    private let logger: Logger

    init(context: ProgramContext, database: PostgresPool) {
        self.database = database
        logger = context.logger
    }

    func run() async throws {
        var backoff = Backoff(initial: .seconds(1), maximum: .seconds(30))
        while true {
            let wait: Duration
            do {
                let created = try await database.query(Self.ensure)[0].int("created")
                if created > 0 { logger.info("created partitions", metadata: ["partitions": "\(created)"]) }
                wait = .seconds(3600)
                backoff.reset()
            } catch let error as CancellationError {
                throw error
            } catch {
                logger.error("creating partitions failed; it is tried again", metadata: ["error": "\(error)"])
                wait = backoff.next()
            }
            if try await pause(for: wait) { return }
        }
    }

    private static let ensure = """
        SELECT ensure_partitions((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + 14) AS created
        """
}
