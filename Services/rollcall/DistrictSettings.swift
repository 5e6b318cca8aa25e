public import ArgumentParser
public import Delivery
import Foundation
import Postgres

extension StatusReading.LateBounce: ExpressibleByArgument {}
extension StatusReading.Opens: ExpressibleByArgument {}

extension Districts {
    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Change how a district's reports read, when its mail goes out and what needs a second person.",
            discussion: """
                In force at once: in every report, on old blasts and new ones, and for blasts being sent. No stored fact \
                changes. In quiet hours general mail waits, emergencies do not; the hours are those of the district's time \
                zone and may span midnight. Administrators of the district can choose the report's words on its settings \
                page, too. Every change is recorded: 'rollcall districts history'.
                """)

        @Argument(help: "The district's number.") var id: Int64
        @Option(help: "The words its reports use: \(StatusVocabulary.all.map(\.name).joined(separator: ", ")).")
        var vocabulary: String?
        @Option(help: "What a message shows that was delivered and came back later: frozen (delivered) or shown.")
        var lateBounce: StatusReading.LateBounce?
        @Option(help: "The opens that count: human, or all, which includes those of programs.")
        var opens: StatusReading.Opens?
        @Option(help: "Its time zone, such as America/Chicago.") var timeZone: String?
        @Option(help: "Quiet hours, such as 21:00-07:00.") var quiet: String?
        @Flag(help: "No quiet hours.") var noQuiet = false
        @Option(help: "Blasts with more recipients need a second person's approval.") var approvalAbove: Int32?
        @Flag(help: "No blast needs approval.") var noApproval = false
        @OptionGroup var actor: ActorOption

        func validate() throws {
            let isReading = vocabulary != nil || lateBounce != nil || opens != nil || timeZone != nil
            guard isReading || quiet != nil || noQuiet || approvalAbove != nil || noApproval else {
                throw ValidationError("Say what to change; 'rollcall districts show \(id)' shows what is set.")
            }
            if let vocabulary, StatusVocabulary.named(vocabulary) == nil {
                throw ValidationError(
                    "There is no vocabulary \(vocabulary); there are "
                        + StatusVocabulary.all.map(\.name).joined(separator: ", ") + ".")
            }
            guard quiet == nil || !noQuiet else { throw ValidationError("Give --quiet or --no-quiet.") }
            guard approvalAbove == nil || !noApproval else {
                throw ValidationError("Give --approval-above or --no-approval.")
            }
            if let quiet, Self.hours(quiet) == nil {
                throw ValidationError("--quiet is two different times of day such as 21:00-07:00.")
            }
            if let approvalAbove, approvalAbove < 0 { throw ValidationError("--approval-above is a number from 0.") }
        }

        private static func hours(_ text: String) -> (from: String, until: String)? {
            guard let match = text.wholeMatch(of: /([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)/) else {
                return nil
            }
            let from = "\(match.1):\(match.2)"
            let until = "\(match.3):\(match.4)"
            return from == until ? nil : (from, until)
        }

        private static let update = """
            UPDATE district
               SET vocabulary = coalesce($2, vocabulary), late_bounce = coalesce($3, late_bounce),
                   opens = coalesce($4, opens), time_zone = coalesce($5, time_zone),
                   quiet_from = CASE WHEN $6 THEN NULL ELSE coalesce($7::text::time, quiet_from) END,
                   quiet_until = CASE WHEN $6 THEN NULL ELSE coalesce($8::text::time, quiet_until) END,
                   approval_above = CASE WHEN $9 THEN NULL ELSE coalesce($10, approval_above) END
             WHERE district_id = $1
            RETURNING clock_timestamp() AT TIME ZONE time_zone
            """

        func run() async throws {
            let hours = quiet.flatMap(Self.hours)
            try await Surroundings().withOwner { connection in
                if let timeZone { try await Districts.check(timeZone: timeZone, on: connection) }
                _ = try await connection.query(
                    "SELECT set_config('rollcall.actor', $1, false)", [.text(actor.name)])
                _ = try await connection.query(
                    Self.update,
                    [
                        .int(id), .text(vocabulary), .text(lateBounce?.rawValue), .text(opens?.rawValue),
                        .text(timeZone), .bool(noQuiet), .text(hours?.from), .text(hours?.until), .bool(noApproval),
                        .int4(approvalAbove),
                    ])
                for line in try await DistrictPage.lines(id, on: connection) { Terminal.say(line) }
            }
        }
    }
}
