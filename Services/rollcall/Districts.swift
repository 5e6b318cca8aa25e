import ArgumentParser
import Delivery
import Foundation
import Postgres

struct Districts: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Add or list school districts.",
        subcommands: [Add.self, List.self, Display.self, Rules.self, History.self])

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Add a district.")

        @Argument(help: "The district's name.") var name: String
        @Option(help: "Its number.") var id: Int64
        @Option(help: "The words its reports use: \(StatusVocabulary.all.map(\.name).joined(separator: ", ")).")
        var vocabulary = StatusVocabulary.canonical.name
        @Option(help: "Its time zone, such as America/Chicago.") var timeZone = "UTC"

        func validate() throws {
            guard id > 0 else { throw ValidationError("--id is a number from 1.") }
            guard StatusVocabulary.named(vocabulary) != nil else {
                throw ValidationError(
                    "There is no vocabulary \(vocabulary); there are "
                        + StatusVocabulary.all.map(\.name).joined(separator: ", ") + ".")
            }
            guard TimeZone(identifier: timeZone) != nil else {
                throw ValidationError("There is no time zone \(timeZone); write one like America/Chicago.")
            }
        }

        func run() async throws {
            try await Surroundings().withOwner { connection in
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
}
