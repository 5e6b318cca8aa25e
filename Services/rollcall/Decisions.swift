import ArgumentParser
import Postgres

/// What a district decides about its messages: kept with who and why, the newest decision holds.
struct Decisions: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Record or list a district's decisions about tracking and unsubscription.",
        subcommands: [Tracking.self, Unsubscribe.self, List.self])

    enum Switch: String, ExpressibleByArgument, CaseIterable {
        case on, off
    }

    struct Stated: ParsableArguments {
        @Option(help: "Why.") var reason: String
        @OptionGroup var actor: ActorOption

        func validate() throws {
            guard !reason.isEmpty else { throw ValidationError("--reason says something.") }
        }

        func keep(_ kind: String, _ subject: String, holds: Bool, in district: Int64) async throws {
            try await Surroundings().withOwner { connection in
                let known = try await connection.query(
                    "SELECT 1 FROM district WHERE district_id = $1", [.int(district)])
                guard !known.isEmpty else { throw Failure("there is no district \(district)") }
                _ = try await connection.query(
                    """
                    INSERT INTO district_decision (district_id, kind, subject, holds, actor, reason)
                    VALUES ($1, $2, $3, $4, $5, $6)
                    """,
                    [.int(district), .text(kind), .text(subject), .bool(holds), .text(actor.name), .text(reason)])
            }
        }
    }

    struct Tracking: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Measure opens and clicks (on, as always) or not (off), for blasts that begin from now on.")

        @Argument(help: "The district's number.") var district: Int64
        @Argument(help: "on or off.") var state: Switch
        @OptionGroup var stated: Stated

        func run() async throws {
            try await stated.keep("tracking_off", "", holds: state == .off, in: district)
            Terminal.say("tracking is \(state.rawValue) in district \(district)")
        }
    }

    struct Unsubscribe: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Offer one-click unsubscription in a category's messages (on, as always) or exempt it (off).")

        @Argument(help: "The district's number.") var district: Int64
        @Argument(help: "The category.") var category: String
        @Argument(help: "on or off.") var state: Switch
        @OptionGroup var stated: Stated

        func run() async throws {
            try await stated.keep("unsubscribe_exempt", category, holds: state == .off, in: district)
            Terminal.say(
                "\(Terminal.plain(category)) in district \(district): unsubscription is \(state.rawValue)")
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List a district's decisions, newest first.")

        @Argument(help: "The district's number.") var district: Int64

        func run() async throws {
            try await Surroundings().withOwner { connection in
                let rows = try await connection.query(
                    """
                    SELECT to_char(decided_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS at, kind, subject, holds, actor,
                           reason
                      FROM district_decision WHERE district_id = $1 ORDER BY decision_no DESC
                    """, [.int(district)])
                for row in rows {
                    let what =
                        switch try row.string("kind") {
                        case "tracking_off": "tracking \(try row.bool("holds") ? "off" : "on")"
                        default:
                            "unsubscription \(try row.bool("holds") ? "off" : "on") for "
                                + Terminal.plain(try row.string("subject"))
                        }
                    Terminal.say(
                        "\(try row.string("at")) UTC  \(what)  \(Terminal.plain(try row.string("actor"))): "
                            + Terminal.plain(try row.string("reason")))
                }
            }
        }
    }
}
