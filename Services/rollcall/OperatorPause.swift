import Contracts
import Postgres

/// The operators' stop of all sending, in the database that every sender asks before each message.
enum OperatorPause {
    private static let begun = """
        INSERT INTO operator_pause (begun_by, reason, includes_emergency) VALUES ($1, $2, $3)
        ON CONFLICT ((true)) WHERE ended_at IS NULL DO UPDATE
           SET includes_emergency = operator_pause.includes_emergency OR excluded.includes_emergency
        RETURNING begun_at, begun_by, reason, includes_emergency
        """
    private static let ended = """
        UPDATE operator_pause SET ended_at = clock_timestamp(), ended_by = $1 WHERE ended_at IS NULL
        RETURNING begun_at
        """
    private static let current = """
        SELECT begun_at, begun_by, reason, includes_emergency FROM operator_pause WHERE ended_at IS NULL
        """

    static func begin(by actor: String, reason: String, includesEmergency: Bool) async throws {
        try await Surroundings().withOwner { connection in
            let rows = try await connection.query(
                begun, [.text(actor), .text(reason), .bool(includesEmergency)])
            for row in rows { Terminal.say(try line(row)) }
        }
    }

    static func end(by actor: String) async throws {
        try await Surroundings().withOwner { connection in
            guard let row = try await connection.query(ended, [.text(actor)]).first else {
                throw Failure("all sending was not paused; nothing was changed")
            }
            Terminal.say("sending goes on; it was paused since \(try time(row))")
        }
    }

    static func show() async throws {
        try await Surroundings().withOwner { connection in
            guard let row = try await connection.query(current).first else {
                return Terminal.say("sending is not paused")
            }
            Terminal.say(try line(row))
        }
    }

    private static func line(_ row: PostgresRow) throws -> String {
        Terminal.plain(
            "all sending\(try row.bool("includes_emergency") ? ", emergencies included," : " but emergencies") is paused "
                + "since \(try time(row)) by \(try row.string("begun_by")): \(try row.string("reason"))")
    }

    private static func time(_ row: PostgresRow) throws -> String {
        Timestamp.string(microseconds: try row.timestampMicroseconds("begun_at"))
    }
}
