import ArgumentParser
import Foundation
import Postgres

extension Districts {
    struct Rules: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show or set when a district's mail is sent and what needs a second person.",
            discussion: """
                In quiet hours general mail waits; emergencies do not. The hours are those of the district's time zone, \
                and may span midnight. What is set holds at once, for blasts being sent too.
                """)

        @Argument(help: "The district's number.") var id: Int64
        @Option(help: "Quiet hours, such as 21:00-07:00.") var quiet: String?
        @Flag(help: "No quiet hours.") var noQuiet = false
        @Option(help: "Blasts with more recipients need a second person's approval.") var approvalAbove: Int32?
        @Flag(help: "No blast needs approval.") var noApproval = false

        func validate() throws {
            guard quiet == nil || !noQuiet else { throw ValidationError("Give --quiet or --no-quiet.") }
            guard approvalAbove == nil || !noApproval else {
                throw ValidationError("Give --approval-above or --no-approval.")
            }
            if let quiet, Self.hours(quiet) == nil {
                throw ValidationError("--quiet is two different times of day such as 21:00-07:00.")
            }
            if let approvalAbove, approvalAbove < 0 { throw ValidationError("--approval-above is a number from 0.") }
        }

        static func hours(_ text: String) -> (from: String, until: String)? {
            guard let match = text.wholeMatch(of: /([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)/) else {
                return nil
            }
            let from = "\(match.1):\(match.2)"
            let until = "\(match.3):\(match.4)"
            return from == until ? nil : (from, until)
        }

        func run() async throws {
            let hours = quiet.flatMap(Self.hours)
            try await Surroundings().withOwner { connection in
                _ = try await connection.query(
                    "SELECT set_config('rollcall.actor', $1, false)", [.text("operator \(NSUserName())")])
                let rows = try await connection.query(
                    """
                    UPDATE district
                       SET quiet_from = CASE WHEN $2 THEN NULL ELSE coalesce($3::text::time, quiet_from) END,
                           quiet_until = CASE WHEN $2 THEN NULL ELSE coalesce($4::text::time, quiet_until) END,
                           approval_above = CASE WHEN $5 THEN NULL ELSE coalesce($6, approval_above) END
                     WHERE district_id = $1
                    RETURNING name, time_zone, to_char(quiet_from, 'HH24:MI') AS quiet_from,
                              to_char(quiet_until, 'HH24:MI') AS quiet_until, approval_above
                    """,
                    [
                        .int(id), .bool(noQuiet), .text(hours?.from), .text(hours?.until), .bool(noApproval),
                        .int4(approvalAbove),
                    ])
                guard let row = rows.first else { throw Failure("there is no district \(id)") }
                let quiet = try row.optionalString("quiet_from").map { from in
                    "\(from)-\(try row.string("quiet_until")) in \(try row.string("time_zone"))"
                }
                let approval = try row.optionalInt("approval_above").map { "above \($0) recipients" }
                Terminal.say(
                    Terminal.plain(
                        "district \(id), \(try row.string("name")): quiet hours \(quiet ?? "none"), approval "
                            + "\(approval ?? "never")"))
            }
        }
    }
}
