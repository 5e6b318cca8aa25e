import Contracts
import Delivery
import Kafka
import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Puts commands on their topic, from rows that are not marked as published.
///
/// A command that the guard has not carried out is published again when the event history began anew, because an
/// emptied broker took it along; carrying it out twice equals once.
struct CommandPublisher: Service {
    let database: PostgresPool
    let producer: KafkaProducer
    let logger: Logger
    let stuck: StuckLoop
    let wake = Wake()

    private static let commandsMax = 100

    init(context: ProgramContext, database: PostgresPool, producer: KafkaProducer) {
        self.database = database
        self.producer = producer
        logger = context.logger
        stuck = context.stuckLoop("commands", limit: .seconds(60))
    }

    /// Closes the producer when the process is asked to stop: what is not acknowledged then is published at the next
    /// start.
    func run() async throws {
        try await withGracefulShutdownHandler {
            try await serve()
        } onGracefulShutdown: {
            Task { await producer.close(timeout: .seconds(2)) }
        }
    }

    private func serve() async throws {
        var history: Int64 = -1
        try await wake.serve("publishing commands", every: .seconds(2), stuck: stuck, logger: logger) {
            history = try await republish(after: history)
            return try await publish()
        }
    }

    /// True when there may be more. No row is locked while the broker is waited for; a command published twice is
    /// carried out once.
    func publish() async throws -> Bool {
        let rows = try await database.query(Self.take, [.int(Int64(Self.commandsMax))])
        guard !rows.isEmpty else { return false }
        var ids: [BlastID] = []
        var records: [ProducerRecord] = []
        for row in rows {
            let id = try row.blastID("command_id")
            guard let kind = Command.Kind(rawValue: try row.string("kind")) else { continue }
            ids.append(id)
            let command = Command(
                id: id.description, kind: kind,
                district: DistrictID(try row.int("district_id")), target: try row.string("target"),
                address: try row.optionalString("address"), actor: try row.string("actor"),
                reason: try row.string("reason"), atMicroseconds: try row.timestampMicroseconds("created_at"))
            records.append(try ProducerRecord(command))
        }
        try await producer.send(records)
        _ = try await database.query(
            "UPDATE command SET reported_at = clock_timestamp() WHERE command_id = ANY ($1)", [.uuidArray(ids)])
        return rows.count == Self.commandsMax
    }

    private func republish(after known: Int64) async throws -> Int64 {
        let history = try await database.query(EventHistory.read)[0].int("history")
        guard history != known else { return known }
        for row in try await database.query(Self.recentDistricts) {
            try await database.withDistrict(DistrictID(try row.int("district_id"))) { connection in
                _ = try await connection.query(Self.forget, [.int(try row.int("district_id"))])
            }
        }
        return history
    }

    private static let take = """
        SELECT command_id, district_id, kind, target, payload ->> 'address' AS address, actor, reason, created_at
          FROM command WHERE reported_at IS NULL ORDER BY created_at LIMIT $1
        """

    private static let recentDistricts = """
        SELECT DISTINCT district_id FROM command
         WHERE reported_at IS NOT NULL AND created_at > clock_timestamp() - interval '7 days'
        """

    /// What was carried out can be seen one district at a time only.
    private static let forget = """
        UPDATE command c SET reported_at = NULL
         WHERE c.district_id = $1 AND c.reported_at IS NOT NULL
           AND c.created_at > clock_timestamp() - interval '7 days'
           AND NOT EXISTS (SELECT FROM guard_command g WHERE g.command_id = c.command_id)
        """
}
