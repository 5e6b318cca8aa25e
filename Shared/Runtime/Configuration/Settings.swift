/// The values of all settings a program declared, read once at start.
///
/// Environment wins over file, file over default. Construction either yields a value for every declared setting or
/// throws one ``ConfigurationError`` that names everything wrong: unknown keys, missing ones, unreadable ones. So a
/// program that has its settings needs no further checks, and an operator fixes a configuration in one round.
///
/// All programs may share one environment and one file. A key that another Rollcall program declares is therefore fine
/// (``KnownKeys``); a key that none declares is a mistyped one.
public struct Settings: Sendable {
    /// Where a value came from.
    public enum Source: String, Sendable {
        case `default`, file, environment
    }

    private struct Entry: Sendable {
        let key: String
        let value: any Sendable
        let shown: String
        let source: Source
    }

    private let entries: [String: Entry]

    /// - Parameters:
    ///   - declared: every setting the program reads.
    ///   - environment: the process environment; only names that begin with `ROLLCALL_` are looked at.
    ///   - file: the configuration file, if there is one.
    ///   - knownKeys: the keys of every Rollcall program.
    public init(
        declared: [any DeclaredSetting], environment: [String: String], file: ConfigurationFile? = nil,
        knownKeys: Set<String> = KnownKeys.all
    ) throws(ConfigurationError) {
        var complaints: [ConfigurationError.Complaint] = []
        var entries: [String: Entry] = [:]

        for setting in declared {
            if !knownKeys.contains(setting.key) {
                complaints.append(
                    .init(subject: setting.key, explanation: "is declared by this program but missing in KnownKeys"))
            }
            let variable = Self.variable(for: setting.key)
            let raw: SettingText?
            let source: Source
            if let text = environment[variable] {
                (raw, source) = (.text(text), .environment)
            } else if let value = file?.values[setting.key] {
                (raw, source) = (value, .file)
            } else {
                (raw, source) = (nil, .default)
            }
            switch setting.read(raw) {
            case .value(let value, let shown):
                entries[setting.key] = Entry(key: setting.key, value: value, shown: shown, source: source)
            case .missing:
                complaints.append(
                    .init(
                        subject: setting.key,
                        explanation: "is required: set \(variable) or \"\(setting.key)\" in the file to "
                            + "\(setting.expectation) (\(setting.documentation))"))
            case .unreadable:
                let value = setting.isSecret ? "its value (not shown)" : Self.quoted(raw)
                let place = source == .environment ? "environment variable \(variable)" : "configuration file"
                complaints.append(
                    .init(
                        subject: setting.key,
                        explanation: "\(value) from the \(place) is not \(setting.expectation)"))
            }
        }
        complaints += Self.unknown(environment: environment, file: file, knownKeys: knownKeys, declared: declared)
        guard complaints.isEmpty else { throw ConfigurationError(complaints) }
        self.entries = entries
    }

    /// The value of a declared setting. Asking for one that was not declared is a programming error and traps.
    public subscript<Value>(_ setting: Setting<Value>) -> Value {
        guard let resolved = entries[setting.key]?.value as? Resolved<Value> else {
            preconditionFailure("setting \(setting.key) was not declared with this type")
        }
        return resolved.value
    }

    /// A table of every key, its value and its source; secrets as `***`.
    public func printed() -> String {
        let rows =
            [("KEY", "VALUE", "SOURCE")]
            + entries.values.sorted { $0.key < $1.key }
            .map { ($0.key, Self.printable($0.shown), $0.source.rawValue) }
        let keyWidth = rows.map(\.0.count).max() ?? 0
        let valueWidth = min(60, rows.map(\.1.count).max() ?? 0)
        return rows.map { key, value, source in
            Self.padded(key, keyWidth) + "  " + Self.padded(value, valueWidth) + "  " + source
        }.joined(separator: "\n")
    }

    /// The environment variable of a key: `kafka.bootstrap` → `ROLLCALL_KAFKA_BOOTSTRAP`.
    public static func variable(for key: String) -> String {
        let name = key.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "."), UInt8(ascii: "-"): UInt8(ascii: "_")
            case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - 0x20
            default: byte
            }
        }
        return "ROLLCALL_" + String(decoding: name, as: UTF8.self)
    }

    private static func unknown(
        environment: [String: String], file: ConfigurationFile?, knownKeys: Set<String>,
        declared: [any DeclaredSetting]
    ) -> [ConfigurationError.Complaint] {
        let keys = knownKeys.union(declared.map(\.key))
        let variables = Set(keys.map(variable(for:))).union(KnownKeys.variablesWithoutKey)
        var complaints: [ConfigurationError.Complaint] = []
        for name in environment.keys.sorted() where name.hasPrefix("ROLLCALL_") && !variables.contains(name) {
            complaints.append(
                .init(
                    subject: name,
                    explanation: "is not a setting of any Rollcall program" + hint(name, among: variables)))
        }
        for key in (file?.values.keys.sorted() ?? []) where !keys.contains(key) {
            complaints.append(
                .init(
                    subject: key,
                    explanation: "in the configuration file is not a setting of any Rollcall program"
                        + hint(key, among: keys)))
        }
        return complaints
    }

    private static func hint(_ name: String, among candidates: Set<String>) -> String {
        let nearest = candidates.sorted().map { ($0, EditDistance.between(name, $0)) }.min { $0.1 < $1.1 }
        guard let nearest, nearest.1 <= 3 else { return "" }
        return "; did you mean \(nearest.0)?"
    }

    private static func quoted(_ raw: SettingText?) -> String {
        switch raw {
        case .text(let text): "\"\(printable(text))\""
        case .list(let items): "[\(items.map(printable).joined(separator: ", "))]"
        case nil: "nothing"
        }
    }

    /// Bounded and without control characters, so that a hostile value cannot repaint the operator's terminal.
    private static func printable(_ text: String) -> String {
        let scalars = text.unicodeScalars.prefix(200).map {
            $0.properties.generalCategory == .control ? "\u{FFFD}" : $0
        }
        return String(String.UnicodeScalarView(scalars)) + (text.unicodeScalars.count > 200 ? "…" : "")
    }

    private static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
