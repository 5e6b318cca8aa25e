import Contracts
import Delivery
import Mail
import Postgres
import Runtime
import Signing

/// What staff asked the owners of other tables to do, and what became of it.
struct CommandState: Sendable {
    let id: BlastID
    let kind: String
    let actor: String
    let reason: String
    let createdAt: Int64
    let doneAt: Int64?
    /// In words, once it is done.
    let outcome: String?
}

struct CommandStore: Sendable {
    let pool: PostgresPool

    static let reasonMax = 500

    /// Asks the guard to lift the block of an address.
    /// - Throws: `Problem` 422 for an address that cannot be one, or a missing or too long reason.
    func resetBlacklist(address: String, reason: String, by caller: Caller) async throws -> BlastID {
        let reason = reason.trimmed
        guard !reason.isEmpty, reason.count <= Self.reasonMax, !reason.unicodeScalars.contains("\0") else {
            throw ReportProblems.member("reason", "must say why in 1 to \(Self.reasonMax) characters")
        }
        let parsed: EmailAddress
        do {
            parsed = try EmailAddress(parsing: address.trimmed)
        } catch {
            throw ReportProblems.member("address", "is not an e-mail address")
        }
        return try await pool.withDistrict(caller.district) { connection in
            guard
                let row = try await connection.query(
                    "SELECT address_key FROM district WHERE district_id = $1", [.int(caller.district.number)]
                ).first
            else { throw ReportProblems.unauthorized }
            let hasher = AddressHasher(districtKey: try row.bytes("address_key"))
            let made = try await connection.query(
                """
                INSERT INTO command (district_id, kind, target, actor, reason)
                VALUES ($1, 'blacklist.reset', $2, $3, $4) RETURNING command_id
                """,
                [
                    .int(caller.district.number),
                    .text(Hexadecimal.string(hasher.hash(matchingKey: parsed.matchingKey))), .text(caller.label),
                    .text(reason),
                ])
            return try made[0].blastID("command_id")
        }
    }

    func find(_ id: BlastID, by caller: Caller) async throws -> CommandState {
        try await pool.reading(caller.district) { connection in
            guard
                let row = try await connection.query(
                    """
                    SELECT c.kind, c.actor, c.reason, c.created_at, g.outcome, g.done_at
                      FROM command c LEFT JOIN guard_command g ON g.command_id = c.command_id
                     WHERE c.command_id = $1 AND c.district_id = $2
                    """, [.uuid(id), .int(caller.district.number)]
                ).first
            else { throw ReportProblems.noSuchCommand }
            return CommandState(
                id: id, kind: try row.string("kind"), actor: try row.string("actor"),
                reason: try row.string("reason"), createdAt: try row.timestampMicroseconds("created_at"),
                doneAt: try row.optionalTimestampMicroseconds("done_at"), outcome: try row.optionalString("outcome"))
        }
    }
}

extension String {
    /// Without white space at its ends.
    var trimmed: String {
        let scalars = unicodeScalars
        guard let first = scalars.firstIndex(where: { !$0.properties.isWhitespace }),
            let last = scalars.lastIndex(where: { !$0.properties.isWhitespace })
        else { return "" }
        return String(scalars[first...last])
    }
}
