import Postgres
import Runtime

/// A part of every day in which general mail waits, by the clocks of the district's time zone; it may span midnight.
struct QuietHours: Sendable, Equatable {
    /// As in `21:00`.
    let from: String
    let until: String

    init?(from: String, until: String) {
        guard from != until, [from, until].allSatisfy({ $0.wholeMatch(of: /([01][0-9]|2[0-3]):[0-5][0-9]/) != nil })
        else { return nil }
        (self.from, self.until) = (from, until)
    }

    /// - Parameter text: as in `21:00-07:00`.
    init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        self.init(from: String(parts[0]), until: String(parts[1]))
    }

    var text: String { "\(from)-\(until)" }

    static let fault = ReportProblems.member(
        "quiet_hours", "must be two different times of day, as in 21:00-07:00, or null for none")
}

/// When a district's mail is sent, and what needs a second person.
struct SendingRules: Sendable, Equatable {
    var quietHours: QuietHours?
    /// Blasts with more recipients need a second person's approval; nil asks nobody.
    var approvalAbove: Int32?

    static let approvalFault = ReportProblems.member(
        "approval_above", "must be a whole number from 0 to \(Int32.max), or null so that no blast needs approval")

    /// In a transaction of the district.
    static func read(on connection: PostgresConnection) async throws -> SendingRules {
        let row = try await connection.query(
            """
            SELECT to_char(quiet_from, 'HH24:MI') AS quiet_from, to_char(quiet_until, 'HH24:MI') AS quiet_until,
                   approval_above
              FROM district WHERE district_id = current_district()
            """
        ).first
        guard let row else { return SendingRules() }
        return SendingRules(
            quietHours: QuietHours(
                from: try row.optionalString("quiet_from") ?? "", until: try row.optionalString("quiet_until") ?? ""),
            approvalAbove: try row.optionalInt32("approval_above"))
    }
}

extension SendingRules {
    /// What the settings page's fields say; an empty field is none.
    /// - Throws: `Problem` 422 for a value that is none.
    init(_ fields: FormFields) throws(Problem) {
        if fields["quiet_from"] != nil || fields["quiet_until"] != nil {
            guard let hours = QuietHours(from: fields["quiet_from"] ?? "", until: fields["quiet_until"] ?? "") else {
                throw QuietHours.fault
            }
            quietHours = hours
        }
        if let text = fields["approval_above"]?.trimmed {
            guard let number = Int32(text), number >= 0 else { throw Self.approvalFault }
            approvalAbove = number
        }
    }
}
