public import Postgres

/// Brings a database to the schema of this binary.
///
/// Safe to run from several places at once (an advisory lock) and again at any time (applied versions are skipped).
/// Refuses a database that a newer binary has migrated. Each migration and its record commit together.
public struct Migrator: Sendable {
    public struct Refusal: Error, CustomStringConvertible {
        public let description: String
    }

    /// The roles that services log in with.
    public static let serviceRoles = [
        "rollcall_intake", "rollcall_dispatch", "rollcall_ingester", "rollcall_projector", "rollcall_guard",
        "rollcall_report",
    ]

    private static let lockKey = 7_262_355
    private let connection: PostgresConnection

    /// - Parameter connection: logged in as the owner of the schema, with the right to create roles.
    public init(connection: PostgresConnection) { self.connection = connection }

    /// Applies what is missing and makes sure partitions exist from two days ago to `daysAhead` days from now.
    /// - Returns: the names of the migrations applied now.
    public func migrate(daysAhead: Int = 14) async throws -> [String] {
        _ = try await connection.query("SELECT pg_advisory_lock($1)", [.int(Int64(Self.lockKey))])
        var applied: [String] = []
        do {
            try await prepareRecord()
            let present = try await presentVersions()
            if let newest = present.max(), let known = Migration.all.last?.version, newest > known {
                throw Refusal(
                    description: "the database is at schema version \(newest), this binary knows up to \(known): "
                        + "upgrade the binary; nothing was changed")
            }
            for migration in Migration.all where !present.contains(migration.version) {
                try await apply(migration)
                applied.append("V\(migration.version) \(migration.name)")
            }
            _ = try await connection.query(
                """
                SELECT rollcall.ensure_partitions((now() AT TIME ZONE 'UTC')::date - 2,
                                                  (now() AT TIME ZONE 'UTC')::date + $1::int)
                """, [.int(Int64(daysAhead))])
        } catch {
            _ = try? await connection.query("SELECT pg_advisory_unlock($1)", [.int(Int64(Self.lockKey))])
            throw error
        }
        _ = try await connection.query("SELECT pg_advisory_unlock($1)", [.int(Int64(Self.lockKey))])
        return applied
    }

    /// Gives every service role the same password: for local stacks. Production sets each role's own.
    public func setServicePassword(_ password: String) async throws {
        for role in Self.serviceRoles {
            let statement = try await connection.query(
                "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text) AS statement",
                [.text(role), .text(password)])
            for row in statement { try await connection.execute(script: row.string("statement")) }
        }
    }

    private func prepareRecord() async throws {
        try await connection.execute(
            script: """
                CREATE SCHEMA IF NOT EXISTS rollcall;
                SET search_path = rollcall;
                CREATE TABLE IF NOT EXISTS schema_migration (
                    version int PRIMARY KEY,
                    name text NOT NULL,
                    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
                );
                """)
    }

    private func presentVersions() async throws -> Set<Int> {
        var versions: Set<Int> = []
        for row in try await connection.query("SELECT version FROM rollcall.schema_migration") {
            versions.insert(Int(try row.int("version")))
        }
        return versions
    }

    private func apply(_ migration: Migration) async throws {
        do {
            try await connection.execute(script: "BEGIN; SET LOCAL search_path = rollcall; " + migration.sql)
            _ = try await connection.query(
                "INSERT INTO rollcall.schema_migration (version, name) VALUES ($1, $2)",
                [.int(Int64(migration.version)), .text(migration.name)])
            try await connection.execute(script: "COMMIT")
        } catch {
            try? await connection.execute(script: "ROLLBACK")
            throw error
        }
    }
}
