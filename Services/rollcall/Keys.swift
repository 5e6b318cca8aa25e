import ArgumentParser
import Contracts
import Postgres
import Signing

struct Keys: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make, list or revoke API keys.", subcommands: [Create.self, List.self, Revoke.self])

    enum Scope: String, CaseIterable, ExpressibleByArgument {
        case send, read, admin
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make an API key and print it, this once.",
            discussion: "Only the key goes to standard output. Rollcall keeps a hash of it and cannot show it again.")

        @Argument(help: "The district's number.") var district: Int64
        @Option(help: "What the key may do: send, read or admin. Repeatable.") var scope: [Scope]
        @Option(help: "What the key is for.") var label: String

        func validate() throws {
            guard !scope.isEmpty else { throw ValidationError("Give at least one --scope.") }
            guard !label.isEmpty, label.utf8.count <= 200 else {
                throw ValidationError("--label has 1 to 200 octets.")
            }
        }

        func run() async throws {
            guard let made = APIKey.generate() else { throw Failure("no key could be made") }
            try await Surroundings().withOwner { connection in
                let scopes = Scope.allCases.filter(scope.contains).map(\.rawValue)
                do {
                    _ = try await connection.query(
                        """
                        INSERT INTO api_key (key_id, district_id, secret_sha256, scopes, label)
                        VALUES ($1, $2, $3, $4, $5)
                        """,
                        [
                            .text(made.key.id), .int(district), .bytes(made.key.secretSHA256), .textArray(scopes),
                            .text(label),
                        ])
                } catch let error as PostgresError where error.sqlState == "23503" {
                    throw Failure("there is no district \(district); add it with 'rollcall districts add'")
                }
                Terminal.complain(
                    "key \(made.key.id) of district \(district) may \(scopes.joined(separator: ", ")); keep it safe")
            }
            Terminal.say(made.text)
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the keys, without their secrets.")

        @Option(help: "Only this district's.") var district: Int64?

        func run() async throws {
            try await Surroundings().withOwner { connection in
                let rows = try await connection.query(
                    """
                    SELECT * FROM api_key WHERE $1::bigint IS NULL OR district_id = $1 ORDER BY district_id, created_at
                    """, [.int(district)])
                for row in rows {
                    let revoked = try row.optionalTimestampMicroseconds("revoked_at")
                        .map { "  revoked \(Timestamp.string(microseconds: $0))" }
                    let scopes = try row.textArray("scopes").compactMap(\.self).joined(separator: ",")
                    Terminal.say(
                        "\(try row.string("key_id"))  district \(try row.int("district_id"))  \(scopes)  "
                            + "\(Terminal.plain(try row.string("label")))\(revoked ?? "")")
                }
            }
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Revoke a key: it stops working at once.")

        @Argument(help: "The key's id, the 16 digits between the underscores.") var id: String

        func run() async throws {
            // A whole key may be given by mistake or for convenience.
            let wanted = APIKey(id)?.id ?? id
            try await Surroundings().withOwner { connection in
                let rows = try await connection.query(
                    "UPDATE api_key SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE key_id = $1",
                    [.text(wanted)])
                guard rows.affectedRows == 1 else { throw Failure("there is no key \(Terminal.plain(wanted))") }
                Terminal.say("revoked \(wanted)")
            }
        }
    }
}
