import Contracts
import Delivery
import Mail
import Postgres
import Runtime
import Signing

/// Carries out what staff asked for, each command once.
struct CommandLedger: Sendable {
    /// The command names something that cannot be done as asked; trying again would not help.
    struct Refusal: Error, Equatable {
        let reason: String
    }

    let pool: PostgresPool

    /// Commits before it returns what was done, in words for staff; nil when it had been carried out before.
    ///
    /// A reset counts from now, by the database's clock: whatever was reported earlier no longer blocks the address.
    func carryOut(_ command: Command) async throws -> String? {
        guard let id = BlastID(command.id) else { throw Refusal(reason: "the command's id is not a UUID") }
        guard let hash = Hexadecimal.bytes(command.target), hash.count == 32 else {
            throw Refusal(reason: "the target is not an address hash")
        }
        return try await pool.withTransaction { connection in
            let commandID = PostgresParameter.uuid(id)
            guard try await connection.query(Self.find, [commandID]).isEmpty else { return nil }
            let outcome =
                switch command.kind {
                case .blacklistReset: try await reset(command, hash, connection)
                case .blacklistAdd: try await add(command, hash, connection)
                }
            _ = try await connection.query(
                Self.remember,
                [commandID, .int(command.district.number), .text(command.kind.rawValue), .text(outcome)])
            return outcome
        }
    }

    private func reset(_ command: Command, _ hash: [UInt8], _ connection: PostgresConnection) async throws -> String {
        let changed = try await connection.query(
            Self.reset,
            [.int(command.district.number), .bytes(hash), .text(command.actor), .text(command.reason)])
        return changed.affectedRows == 1 ? "The block was lifted." : "The address was not blocked."
    }

    private func add(_ command: Command, _ hash: [UInt8], _ connection: PostgresConnection) async throws -> String {
        guard let row = try await connection.query(Self.districtKey, [.int(command.district.number)]).first else {
            throw Refusal(reason: "there is no such district")
        }
        guard let text = command.address, let address = try? EmailAddress(parsing: text) else {
            throw Refusal(reason: "the address cannot be used")
        }
        let hasher = AddressHasher(districtKey: try row.bytes("address_key"))
        guard hasher.hash(matchingKey: address.matchingKey) == hash else {
            throw Refusal(reason: "the target is not this address's hash")
        }
        let changed = try await connection.query(
            Self.add, [.int(command.district.number), .bytes(hash), .text(text)])
        return changed.affectedRows == 1 ? "The address was blocked." : "The address was blocked already."
    }

    private static let find = "SELECT FROM guard_command WHERE command_id = $1"
    private static let remember =
        "INSERT INTO guard_command (command_id, district_id, kind, outcome) VALUES ($1, $2, $3, $4)"
    private static let districtKey = "SELECT address_key FROM district WHERE district_id = $1"

    private static let reset = """
        UPDATE blacklist SET active = false, reset_at = clock_timestamp(), reset_by = $3, reset_reason = $4,
               version = version + 1, reported_at = NULL
         WHERE district_id = $1 AND address_hash = $2 AND active
        """

    private static let add = """
        INSERT INTO blacklist AS b (district_id, address_hash, address, reason, causes, first_seen, last_seen)
        VALUES ($1, $2, $3, 'manual', 0, clock_timestamp(), clock_timestamp())
        ON CONFLICT (district_id, address_hash) DO UPDATE SET
            active = true, reason = 'manual', last_seen = excluded.last_seen, version = b.version + 1,
            reported_at = NULL
         WHERE NOT b.active
        """
}
