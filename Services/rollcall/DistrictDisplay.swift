public import ArgumentParser
import Contracts
public import Delivery
import Foundation
import Postgres

extension StatusReading.LateBounce: ExpressibleByArgument {}
extension StatusReading.Opens: ExpressibleByArgument {}

extension Districts {
    struct Display: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "set", abstract: "Change how a district's reports show what happened.",
            discussion: """
                In force at once, on every page and in every answer, for old blasts and new ones. No stored fact changes. \
                Administrators of the district can do the same on its settings page. Every change is recorded.
                """)

        @Argument(help: "The district's number.") var id: Int64
        @Option(help: "The words its reports use: \(StatusVocabulary.all.map(\.name).joined(separator: ", ")).")
        var vocabulary: String?
        @Option(help: "What a message shows that was delivered and came back later: frozen (delivered) or shown.")
        var lateBounce: StatusReading.LateBounce?
        @Option(help: "The opens that count: human, or all, which includes those of programs.")
        var opens: StatusReading.Opens?
        @Option(help: "Its time zone, such as America/Chicago.") var timeZone: String?

        func validate() throws {
            guard vocabulary != nil || lateBounce != nil || opens != nil || timeZone != nil else {
                throw ValidationError("Give at least one of --vocabulary, --late-bounce, --opens and --time-zone.")
            }
            if let vocabulary, StatusVocabulary.named(vocabulary) == nil {
                throw ValidationError(
                    "There is no vocabulary \(vocabulary); there are "
                        + StatusVocabulary.all.map(\.name).joined(separator: ", ") + ".")
            }
            if let timeZone, TimeZone(identifier: timeZone) == nil {
                throw ValidationError("There is no time zone \(timeZone); write one like America/Chicago.")
            }
        }

        func run() async throws {
            try await Surroundings().withOwner { connection in
                _ = try await connection.query(
                    "SELECT set_config('rollcall.actor', $1, false)", [.text("operator \(NSUserName())")])
                let updated = try await connection.query(
                    """
                    UPDATE district SET vocabulary = coalesce($2, vocabulary), late_bounce = coalesce($3, late_bounce),
                           opens = coalesce($4, opens), time_zone = coalesce($5, time_zone)
                     WHERE district_id = $1
                    RETURNING vocabulary, late_bounce, opens, time_zone, clock_timestamp() AT TIME ZONE time_zone
                    """,
                    [
                        .int(id), .text(vocabulary), .text(lateBounce?.rawValue), .text(opens?.rawValue),
                        .text(timeZone),
                    ])
                guard let row = updated.first else { throw Failure("there is no district \(id)") }
                Terminal.say(
                    "district \(id): vocabulary \(try row.string("vocabulary")), late bounces "
                        + "\(try row.string("late_bounce")), \(try row.string("opens")) opens, "
                        + "time zone \(try row.string("time_zone"))")
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
