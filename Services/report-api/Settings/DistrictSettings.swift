import Contracts
import Delivery
import Postgres
import Runtime

/// What a district may choose about its reports, and about when its mail is sent.
struct DistrictSettings: Decodable, Sendable, Equatable {
    var vocabulary: String
    var lateBounce: String
    var opens: String
    var timeZone: String
    /// The outer nil leaves it as it is, the inner one is none.
    var quietHours: String??
    var approvalAbove: Int??

    enum CodingKeys: String, CodingKey {
        case vocabulary, opens
        case lateBounce = "late_bounce"
        case timeZone = "time_zone"
        case quietHours = "quiet_hours"
        case approvalAbove = "approval_above"
    }

    init(vocabulary: String, lateBounce: String, opens: String, timeZone: String, rules: SendingRules) {
        (self.vocabulary, self.lateBounce, self.opens, self.timeZone) = (vocabulary, lateBounce, opens, timeZone)
        quietHours = .some(rules.quietHours?.text)
        approvalAbove = .some(rules.approvalAbove.map { Int($0) })
    }

    init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: CodingKeys.self)
        vocabulary = try members.decode(String.self, forKey: .vocabulary)
        lateBounce = try members.decode(String.self, forKey: .lateBounce)
        opens = try members.decode(String.self, forKey: .opens)
        timeZone = try members.decode(String.self, forKey: .timeZone)
        if members.contains(.quietHours) {
            quietHours = .some(try members.decodeIfPresent(String.self, forKey: .quietHours))
        }
        if members.contains(.approvalAbove) {
            approvalAbove = .some(try members.decodeIfPresent(Int.self, forKey: .approvalAbove))
        }
    }

    /// Everything but the time zone, of which the database knows.
    /// - Throws: `Problem` 422 for a value that is none.
    func check() throws(Problem) {
        try Self.check("vocabulary", vocabulary, StatusVocabulary.all.map(\.name))
        try Self.check("late_bounce", lateBounce, StatusReading.LateBounce.allCases.map(\.rawValue))
        try Self.check("opens", opens, StatusReading.Opens.allCases.map(\.rawValue))
        if case .some(.some(let text)) = quietHours, QuietHours(text) == nil { throw QuietHours.fault }
        if case .some(.some(let number)) = approvalAbove, !(0...Int(Int32.max)).contains(number) {
            throw SendingRules.approvalFault
        }
    }

    static let noSuchZone = ReportProblems.member("time_zone", "is not a time zone such as America/Chicago")

    private static func check(_ name: String, _ value: String, _ accepted: [String]) throws(Problem) {
        guard accepted.contains(value) else {
            throw ReportProblems.member(name, "must be one of \(accepted.joined(separator: ", "))")
        }
    }
}

/// One change of a district's settings, by whomever.
struct SettingChange: Sendable {
    let setting: String
    let before: String?
    let after: String?
    let actor: String
    let at: Int64
}

/// A district's settings and the newest changes of them.
struct SettingsDocument: Sendable {
    let district: District
    let settings: DistrictSettings
    let rules: SendingRules
    let changes: [SettingChange]
}

/// Reads and changes the settings of the caller's district. A change is in force for every request after it.
struct SettingsStore: Sendable {
    let pool: PostgresPool

    private static let changesMax: Int64 = 20

    func read(by caller: Caller) async throws -> SettingsDocument {
        try await pool.reading(caller.district) { try await Self.read(on: $0) }
    }

    /// - Throws: `Problem` 422 for a value that is none.
    func change(to wanted: DistrictSettings, by caller: Caller) async throws -> SettingsDocument {
        try wanted.check()
        let hours = (wanted.quietHours ?? nil).flatMap { QuietHours($0) }
        return try await pool.withDistrict(caller.district) { connection in
            _ = try await connection.query("SELECT set_config('rollcall.actor', $1, true)", [.text(caller.label)])
            let zone = try await connection.query("SELECT is_time_zone($1) AS known", [.text(wanted.timeZone)])
            guard try zone.first?.bool("known") == true else { throw DistrictSettings.noSuchZone }
            _ = try await connection.query(
                """
                UPDATE district
                   SET vocabulary = $2, late_bounce = $3, opens = $4, time_zone = $5,
                       quiet_from = CASE WHEN $6 THEN $7::text::time ELSE quiet_from END,
                       quiet_until = CASE WHEN $6 THEN $8::text::time ELSE quiet_until END,
                       approval_above = CASE WHEN $9 THEN $10 ELSE approval_above END
                 WHERE district_id = $1
                """,
                [
                    .int(caller.district.number), .text(wanted.vocabulary), .text(wanted.lateBounce),
                    .text(wanted.opens), .text(wanted.timeZone), .bool(wanted.quietHours != nil), .text(hours?.from),
                    .text(hours?.until), .bool(wanted.approvalAbove != nil),
                    .int4((wanted.approvalAbove ?? nil).map { Int32(clamping: $0) }),
                ])
            return try await Self.read(on: connection)
        }
    }

    private static func read(on connection: PostgresConnection) async throws -> SettingsDocument {
        let district = try await District.read(on: connection)
        let rules = try await SendingRules.read(on: connection)
        let changes = try await connection.query(
            """
            SELECT setting, old_value, new_value, actor, changed_at FROM district_change
             WHERE district_id = current_district() ORDER BY change_no DESC LIMIT $1
            """, [.int(changesMax)])
        return SettingsDocument(
            district: district,
            settings: DistrictSettings(
                vocabulary: district.reading.vocabulary.name, lateBounce: district.reading.lateBounce.rawValue,
                opens: district.reading.opens.rawValue, timeZone: district.timeZone, rules: rules),
            rules: rules,
            changes: try changes.map { row in
                SettingChange(
                    setting: try row.string("setting"), before: try row.optionalString("old_value"),
                    after: try row.optionalString("new_value"), actor: try row.string("actor"),
                    at: try row.timestampMicroseconds("changed_at"))
            })
    }
}

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
struct SettingsResource: Encodable {
    struct Change: Encodable {
        let setting: String
        let from: String?
        let to: String?
        let actor: String
        let at: String
    }

    let name: String
    let vocabulary: String
    let late_bounce: String
    let opens: String
    let time_zone: String
    let quiet_hours: String?
    let approval_above: Int32?
    /// The newest first.
    let changes: [Change]

    init(_ document: SettingsDocument) {
        name = document.district.name
        vocabulary = document.settings.vocabulary
        late_bounce = document.settings.lateBounce
        opens = document.settings.opens
        time_zone = document.settings.timeZone
        quiet_hours = document.rules.quietHours?.text
        approval_above = document.rules.approvalAbove
        changes = document.changes.map { change in
            Change(
                setting: change.setting, from: change.before, to: change.after, actor: change.actor,
                at: Timestamp.string(microseconds: change.at))
        }
    }
}
