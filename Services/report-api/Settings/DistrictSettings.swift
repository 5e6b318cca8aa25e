import Contracts
import Delivery
import Foundation
import Postgres
import Runtime

/// What a district may choose about its reports.
struct DistrictSettings: Codable, Sendable, Equatable {
    var vocabulary: String
    var lateBounce: String
    var opens: String
    var timeZone: String

    enum CodingKeys: String, CodingKey {
        case vocabulary, opens
        case lateBounce = "late_bounce"
        case timeZone = "time_zone"
    }

    /// - Throws: `Problem` 422 for a value that is none.
    func check() throws(Problem) {
        try Self.check("vocabulary", vocabulary, StatusVocabulary.all.map(\.name))
        try Self.check("late_bounce", lateBounce, StatusReading.LateBounce.allCases.map(\.rawValue))
        try Self.check("opens", opens, StatusReading.Opens.allCases.map(\.rawValue))
        guard timeZone.utf8.count <= 64, TimeZone(identifier: timeZone) != nil else {
            throw Self.noSuchZone
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
        return try await pool.withDistrict(caller.district) { connection in
            _ = try await connection.query("SELECT set_config('rollcall.actor', $1, true)", [.text(caller.label)])
            do {
                // The database reckons with the zone as well, and need not know every zone that this process knows.
                _ = try await connection.query("SELECT clock_timestamp() AT TIME ZONE $1", [.text(wanted.timeZone)])
            } catch let error as PostgresError where error.sqlState == "22023" {
                throw DistrictSettings.noSuchZone
            }
            _ = try await connection.query(
                """
                UPDATE district SET vocabulary = $2, late_bounce = $3, opens = $4, time_zone = $5
                 WHERE district_id = $1
                """,
                [
                    .int(caller.district.number), .text(wanted.vocabulary), .text(wanted.lateBounce),
                    .text(wanted.opens), .text(wanted.timeZone),
                ])
            return try await Self.read(on: connection)
        }
    }

    private static func read(on connection: PostgresConnection) async throws -> SettingsDocument {
        let district = try await District.read(on: connection)
        let changes = try await connection.query(
            """
            SELECT setting, old_value, new_value, actor, changed_at FROM district_change
             WHERE district_id = current_district() ORDER BY change_no DESC LIMIT $1
            """, [.int(changesMax)])
        return SettingsDocument(
            district: district,
            settings: DistrictSettings(
                vocabulary: district.reading.vocabulary.name, lateBounce: district.reading.lateBounce.rawValue,
                opens: district.reading.opens.rawValue, timeZone: district.timeZone),
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
    /// The newest first.
    let changes: [Change]

    init(_ document: SettingsDocument) {
        name = document.district.name
        vocabulary = document.settings.vocabulary
        late_bounce = document.settings.lateBounce
        opens = document.settings.opens
        time_zone = document.settings.timeZone
        changes = document.changes.map { change in
            Change(
                setting: change.setting, from: change.before, to: change.after, actor: change.actor,
                at: Timestamp.string(microseconds: change.at))
        }
    }
}
