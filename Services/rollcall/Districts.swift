import ArgumentParser
import Contracts
import Delivery
import Foundation
import Postgres

struct Districts: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Add, list, show or change school districts.",
        subcommands: [Add.self, List.self, Show.self, Set.self, History.self])

    /// - Throws: `Failure` 64 unless the database, which reckons with it, knows the zone by this name.
    static func check(timeZone: String, on connection: PostgresConnection) async throws {
        let rows = try await connection.query("SELECT is_time_zone($1) AS known", [.text(timeZone)])
        guard try rows.first?.bool("known") == true else {
            throw Failure(
                "there is no time zone \(Terminal.plain(timeZone)); write one like America/Chicago", code: 64)
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Add a district.")

        @Argument(help: "Its number.") var id: Int64
        @Argument(help: "Its name.") var name: String
        @Option(help: "The words its reports use: \(StatusVocabulary.all.map(\.name).joined(separator: ", ")).")
        var vocabulary = StatusVocabulary.canonical.name
        @Option(help: "Its time zone, such as America/Chicago.") var timeZone = "UTC"

        func validate() throws {
            guard id > 0 else { throw ValidationError("A district's number is a number from 1.") }
            guard StatusVocabulary.named(vocabulary) != nil else {
                throw ValidationError(
                    "There is no vocabulary \(vocabulary); there are "
                        + StatusVocabulary.all.map(\.name).joined(separator: ", ") + ".")
            }
        }

        func run() async throws {
            try await Surroundings().withOwner { connection in
                try await Districts.check(timeZone: timeZone, on: connection)
                let added = try await connection.query(
                    """
                    INSERT INTO district (district_id, name, vocabulary, time_zone) VALUES ($1, $2, $3, $4)
                    ON CONFLICT DO NOTHING
                    """, [.int(id), .text(name), .text(vocabulary), .text(timeZone)])
                if added.affectedRows == 1 { return Terminal.say("added district \(id), \(name)") }
                let rows = try await connection.query(
                    "SELECT name, vocabulary, time_zone FROM district WHERE district_id = $1", [.int(id)])
                guard let row = rows.first, try row.string("name") == name,
                    try row.string("vocabulary") == vocabulary, try row.string("time_zone") == timeZone
                else { throw Failure("district \(id) exists already and is another one; nothing was changed") }
                Terminal.say("district \(id), \(name), was there already")
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the districts.")

        func run() async throws {
            try await Surroundings().withOwner { connection in
                for row in try await connection.query("SELECT * FROM district ORDER BY district_id") {
                    Terminal.say(
                        "\(try row.int("district_id"))  \(Terminal.plain(try row.string("name")))  "
                            + "\(try row.string("vocabulary"))  \(try row.string("time_zone"))  "
                            + "late bounces \(try row.string("late_bounce")), \(try row.string("opens")) opens")
                }
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show everything that is set for a district.")

        @Argument(help: "The district's number.") var id: Int64

        func run() async throws {
            try await Surroundings().withOwner { connection in
                for line in try await DistrictPage.lines(id, on: connection) { Terminal.say(line) }
            }
        }
    }

    struct History: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List who changed what about a district, and when; the newest first.")

        @Argument(help: "The district's number.") var id: Int64
        @Option(help: "The most changes to list.") var limit: Int = 50

        func run() async throws {
            try await Surroundings().withOwner { connection in
                let rows = try await connection.query(
                    """
                    SELECT setting, old_value, new_value, actor, changed_at FROM district_change
                     WHERE district_id = $1 ORDER BY change_no DESC LIMIT $2
                    """, [.int(id), .int(Int64(max(0, limit)))])
                for row in rows {
                    let before = Terminal.plain(try row.optionalString("old_value") ?? "")
                    let after = Terminal.plain(try row.optionalString("new_value") ?? "")
                    Terminal.say(
                        "\(Timestamp.string(microseconds: try row.timestampMicroseconds("changed_at")))  "
                            + "\(try row.string("setting")) from \"\(before)\" to \"\(after)\"  "
                            + "by \(Terminal.plain(try row.string("actor")))")
                }
            }
        }
    }
}

/// What is set for a district, a line each.
enum DistrictPage {
    private static let query = """
        SELECT name, vocabulary, late_bounce, opens, time_zone, to_char(quiet_from, 'HH24:MI') AS quiet_from,
               to_char(quiet_until, 'HH24:MI') AS quiet_until, approval_above,
               district_decided(district_id, 'tracking_off') AS is_untracked,
               ARRAY (SELECT DISTINCT subject FROM district_decision d
                       WHERE d.district_id = district.district_id AND kind = 'unsubscribe_exempt'
                         AND district_decided(d.district_id, kind, subject) ORDER BY subject) AS exempt
          FROM district WHERE district_id = $1
        """

    static func lines(_ id: Int64, on connection: PostgresConnection) async throws -> [String] {
        guard let row = try await connection.query(query, [.int(id)]).first else {
            throw Failure("there is no district \(id)")
        }
        let quiet = try row.optionalString("quiet_from").map { "\($0)-\(try row.string("quiet_until"))" }
        let approval = try row.optionalInt("approval_above").map { "above \($0) recipients" }
        let exempt = try row.textArray("exempt").compactMap(\.self)
        return [
            "district \(id): \(try row.string("name"))",
            "  vocabulary    \(try row.string("vocabulary"))",
            "  late bounces  \(try row.string("late_bounce"))",
            "  opens         \(try row.string("opens"))",
            "  time zone     \(try row.string("time_zone"))",
            "  quiet hours   \(quiet ?? "none")",
            "  approval      \(approval ?? "never")",
            "  tracking      \(try row.bool("is_untracked") ? "off" : "on")",
            "  unsubscribe   \(exempt.isEmpty ? "on" : "on, but off for \(exempt.joined(separator: ", "))")",
        ].map(Terminal.plain)
    }
}
