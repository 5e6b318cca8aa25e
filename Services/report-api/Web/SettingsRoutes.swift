import Delivery
import HTTPTypes
import Hummingbird
import Runtime

/// The page on which administrators choose how reports show what happened.
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
                        opens: fields["opens"] ?? "", timeZone: fields["time_zone"]?.trimmed ?? ""), by: caller)
                return Gate.redirect(to: "/settings")
            }
        }
    }

    private static func values(_ document: SettingsDocument, _ caller: Caller) -> PageValues {
        let times = LocalTime(zone: document.district.timeZone)
        let settings = document.settings
        func options(_ labels: KeyValuePairs<String, String>, _ chosen: String) -> [PageValues] {
            labels.map { ["value": $0.key, "label": $0.value, "selected": $0.key == chosen] }
        }
        var values = PageRoutes.frame("Settings", document.district, times)
        values["onSettings"] = true
        values["mayChange"] = caller.has(.admin)
        values["vocabularies"] = StatusVocabulary.all.map { vocabulary -> PageValues in
            [
                "value": vocabulary.name, "label": vocabulary.title,
                "selected": vocabulary.name == settings.vocabulary,
            ]
        }
        values["lateBounces"] = options(
            ["frozen": "stays delivered", "shown": "shows as returned, unless it was opened"], settings.lateBounce)
        values["opens"] = options(
            ["human": "by people, as far as we can tell", "all": "by people and by programs"], settings.opens)
        values["timeZone"] = settings.timeZone
        values["hasChanges"] = !document.changes.isEmpty
        values["changes"] = document.changes.map { change -> PageValues in
            var row = times.values(change.at)
            row["actor"] = change.actor
            row["setting"] = change.setting.replacing("_", with: " ")
            row["before"] = change.before ?? ""
            row["after"] = change.after ?? ""
            return row
        }
        return values
    }
}
