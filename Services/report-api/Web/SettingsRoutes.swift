import Delivery
import HTTPTypes
import Hummingbird
import Runtime

/// The page on which administrators choose how reports show what happened, and when mail is sent.
struct SettingsRoutes: Sendable {
    let gate: Gate
    let site: Site
    let settings: SettingsStore

    func register<Context: RequestContext & Sendable>(on router: Router<Context>) {
        router.get("/settings") { request, _ in
            try await gate.entering(request) { caller in
                site.page("settings", Self.values(try await settings.read(by: caller), caller))
            }
        }
        router.post("/settings") { request, _ in
            guard request.isSameSite else { throw ReportProblems.crossSite }
            return try await gate.entering(request) { caller in
                try caller.require(.admin)
                let fields = try await FormFields.body(request)
                _ = try await settings.change(
                    to: DistrictSettings(
                        vocabulary: fields["vocabulary"] ?? "", lateBounce: fields["late_bounce"] ?? "",
                        opens: fields["opens"] ?? "", timeZone: fields["time_zone"]?.trimmed ?? "",
                        rules: try SendingRules(fields)), by: caller)
                return Gate.redirect(to: "/settings")
            }
        }
    }

    private static let labels = [
        "vocabulary": "Status words of", "late_bounce": "A message that was delivered and came back later",
        "opens": "Opens that count", "time_zone": "Time zone", "quiet_from": "Quiet hours begin",
        "quiet_until": "Quiet hours end", "approval_above": "Approval needed above",
    ]
    private static let choices: [String: [(value: String, label: String)]] = [
        "vocabulary": StatusVocabulary.all.map { ($0.name, $0.title) },
        "late_bounce": [
            (StatusReading.LateBounce.frozen.rawValue, "stays delivered"),
            (StatusReading.LateBounce.shown.rawValue, "shows as returned, unless it was opened"),
        ],
        "opens": [
            (StatusReading.Opens.human.rawValue, "by people, as far as we can tell"),
            (StatusReading.Opens.all.rawValue, "by people and by programs"),
        ],
    ]

    /// A value of a setting in the form's own words.
    private static func text(_ value: String?, of setting: String) -> String {
        choices[setting]?.first { $0.value == value }?.label ?? value ?? ""
    }

    private static func values(_ document: SettingsDocument, _ caller: Caller) -> PageValues {
        let times = LocalTime(zone: document.district.timeZone)
        let settings = document.settings
        func options(_ setting: String, _ chosen: String) -> [PageValues] {
            (Self.choices[setting] ?? []).map { value, label -> PageValues in
                ["value": value, "label": label, "selected": value == chosen]
            }
        }
        var values = PageRoutes.frame("Settings", document.district, times)
        values["onSettings"] = true
        values["mayChange"] = caller.has(.admin)
        values["labels"] = Self.labels as PageValues
        values["vocabularies"] = options("vocabulary", settings.vocabulary)
        values["lateBounces"] = options("late_bounce", settings.lateBounce)
        values["opens"] = options("opens", settings.opens)
        values["timeZone"] = settings.timeZone
        values["quietFrom"] = document.rules.quietHours?.from ?? ""
        values["quietUntil"] = document.rules.quietHours?.until ?? ""
        values["approvalAbove"] = document.rules.approvalAbove.map { String($0) } ?? ""
        values["hasChanges"] = !document.changes.isEmpty
        values["changes"] = document.changes.map { change -> PageValues in
            var row = times.values(change.at)
            row["actor"] = change.actor
            row["setting"] = Self.labels[change.setting] ?? change.setting.replacing("_", with: " ")
            row["before"] = Self.text(change.before, of: change.setting)
            row["after"] = Self.text(change.after, of: change.setting)
            return row
        }
        return values
    }
}
