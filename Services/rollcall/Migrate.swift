import ArgumentParser
import Postgres
import Schema

struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Bring the database to this version's schema, or make it.",
        discussion: "Safe to repeat and to run from several places at once. Waits for the server.")

    @Option(help: "Seconds to wait for the server.") var wait = 60
    @Flag(help: "Fail when the database does not exist instead of making it.") var noCreate = false
    @Flag(help: "Give every service role the password in ROLLCALL_POSTGRES_PASSWORD. For local stacks.")
    var servicePasswordFromEnv = false

    func run() async throws {
        let surroundings = Surroundings()
        let password =
            servicePasswordFromEnv
            ? try surroundings.required("ROLLCALL_POSTGRES_PASSWORD", "the password of every service role") : nil
        let target = try surroundings.postgres()
        try await withPatience(wait, "PostgreSQL at \(target.host):\(target.port)") {
            try await ensureDatabase(target, surroundings)
        }
        let applied = try await surroundings.withOwner { connection in
            let migrator = Migrator(connection: connection)
            do {
                let applied = try await migrator.migrate()
                if let password { try await migrator.setServicePassword(password) }
                return applied
            } catch let refusal as Migrator.Refusal {
                throw Failure(refusal.description)
            }
        }
        for name in applied { Terminal.say("applied \(name)") }
        if applied.isEmpty { Terminal.say("nothing to apply: \(target.database) has the schema of this version") }
    }

    private func ensureDatabase(_ target: PostgresConfiguration, _ surroundings: Surroundings) async throws {
        let connection = PostgresConnection(target, name: "rollcall")
        do {
            try await connection.connect()
            await connection.close()
        } catch let refusal {
            // The server refuses a missing database like a missing server: ask it on another one.
            let other = PostgresConnection(try surroundings.postgres(database: "postgres"), name: "rollcall")
            guard (try? await other.connect()) != nil else { throw refusal }
            do {
                try await create(target.database, on: other, after: refusal)
                await other.close()
            } catch {
                await other.close()
                throw error
            }
        }
    }

    private func create(_ database: String, on connection: PostgresConnection, after error: any Error) async throws {
        let rows = try await connection.query(
            """
            SELECT format('CREATE DATABASE %I', $1::text) AS statement,
                   EXISTS (SELECT FROM pg_database WHERE datname = $1::text) AS is_there
            """, [.text(database)])
        guard let row = rows.first, try !row.bool("is_there") else { throw error }
        guard !noCreate else { throw Failure("there is no database \(database); make it, or leave out --no-create") }
        try await connection.execute(script: try row.string("statement"))
        Terminal.say("made the database \(database)")
    }
}
