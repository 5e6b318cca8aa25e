public import Logging

/// A raw value as it stands in the environment (always text) or in the configuration file (text or a list).
public enum SettingText: Sendable, Equatable {
    case text(String)
    case list([String])

    /// The items of a list, comma-separated as text; nil when one is empty.
    public var items: [String]? {
        let items =
            switch self {
            case .list(let items): items
            case .text(""): [String]()
            case .text(let text):
                text.split(separator: ",", omittingEmptySubsequences: false).map { trimmed(String($0)) }
            }
        return items.allSatisfy { !$0.isEmpty } ? items : nil
    }

    /// The items as `name=value`; nil when one is none, or when a name stands twice.
    public var pairs: [String: String]? {
        guard let items else { return nil }
        var pairs: [String: String] = [:]
        for item in items {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty else { return nil }
            guard pairs.updateValue(String(parts[1]), forKey: String(parts[0])) == nil else { return nil }
        }
        return pairs
    }
}

/// What ``Settings`` needs to know about a setting whatever its type: its name, its words, and how to read it.
public protocol DeclaredSetting: Sendable {
    var key: String { get }
    /// One line for `--help`.
    var documentation: String { get }
    /// What a good value looks like, as it stands in error messages: "a duration such as 10s or 250ms".
    var expectation: String { get }
    var isSecret: Bool { get }
    /// Whether the program refuses to start without a value.
    var isRequired: Bool { get }
    /// The default as `--print-config` and `--help` show it, nil when there is none.
    var defaultText: String? { get }
    func read(_ raw: SettingText?) -> SettingReading
}

/// The outcome of reading one raw value.
public enum SettingReading: Sendable {
    case value(any Sendable, shown: String)
    case missing
    case unreadable
}

/// One declared setting: the key `kafka.bootstrap` is the environment variable `ROLLCALL_KAFKA_BOOTSTRAP` and the member
/// `{"kafka": {"bootstrap": …}}` of the configuration file.
///
/// A program declares every setting it reads, once, and reads it through ``Settings``; whatever is not declared cannot
/// be read, so `--help` and `--print-config` are complete by construction.
public struct Setting<Value: Sendable>: DeclaredSetting {
    public let key: String
    public let documentation: String
    public let expectation: String
    public let isSecret: Bool
    private let fallback: Value?
    private let parse: @Sendable (SettingText) -> Value?
    private let show: @Sendable (Value) -> String

    public init(
        _ key: String, default fallback: Value?, expectation: String, documentation: String, isSecret: Bool = false,
        parse: @escaping @Sendable (SettingText) -> Value?, show: @escaping @Sendable (Value) -> String
    ) {
        self.key = key
        self.fallback = fallback
        self.expectation = expectation
        self.documentation = documentation
        self.isSecret = isSecret
        self.parse = parse
        self.show = show
    }

    public var isRequired: Bool { fallback == nil }

    public var defaultText: String? { fallback.map(show) }

    public func read(_ raw: SettingText?) -> SettingReading {
        guard let raw else {
            guard let fallback else { return .missing }
            return .value(Resolved(value: fallback), shown: show(fallback))
        }
        guard let value = parse(raw) else { return .unreadable }
        return .value(Resolved(value: value), shown: show(value))
    }
}

extension Setting {
    /// What a text would mean as this setting's value, for settings that are lists of such texts; nil when it is not
    /// ``expectation``.
    public func value(of text: String) -> Value? { parse(.text(text)) }
}

/// A box that keeps an optional value optional through `any Sendable`.
struct Resolved<Value: Sendable>: Sendable {
    let value: Value
}

extension Setting where Value == String {
    /// Non-empty text. Without a default it is required. `oneOf` limits it to the named words.
    public static func string(
        _ key: String, default fallback: String? = nil, oneOf words: [String]? = nil, doc: String
    ) -> Setting<String> {
        Setting(
            key, default: fallback,
            expectation: words.map { "one of " + $0.joined(separator: ", ") } ?? "a non-empty text",
            documentation: doc,
            parse: { raw in
                guard case .text(let text) = raw, !text.isEmpty else { return nil }
                if let words, !words.contains(text) { return nil }
                return text
            }, show: { $0 })
    }

    /// Non-empty text that is never printed. Without a default it is required.
    public static func secret(_ key: String, default fallback: String? = nil, doc: String) -> Setting<String> {
        Setting(
            key, default: fallback, expectation: "a non-empty text", documentation: doc, isSecret: true,
            parse: { raw in
                guard case .text(let text) = raw, !text.isEmpty else { return nil }
                return text
            }, show: { _ in "***" })
    }
}

extension Setting where Value == String? {
    /// Text that may be left out.
    public static func optionalString(_ key: String, doc: String) -> Setting<String?> {
        Setting(
            key, default: .some(nil), expectation: "a non-empty text, or leave it out", documentation: doc,
            parse: { raw in
                guard case .text(let text) = raw, !text.isEmpty else { return nil }
                return text
            }, show: { $0 ?? "(none)" })
    }

    /// A secret that may be left out; never printed.
    public static func optionalSecret(_ key: String, doc: String) -> Setting<String?> {
        Setting(
            key, default: .some(nil), expectation: "a non-empty text, or leave it out", documentation: doc,
            isSecret: true,
            parse: { raw in
                guard case .text(let text) = raw, !text.isEmpty else { return nil }
                return text
            }, show: { $0 == nil ? "(none)" : "***" })
    }
}

extension Setting where Value == Int {
    /// A whole number inside `range`. Without a default it is required.
    public static func int(
        _ key: String, default fallback: Int? = nil, in range: ClosedRange<Int> = 0...Int.max, doc: String
    ) -> Setting<Int> {
        let upper = range.upperBound == Int.max ? "or more" : "to \(range.upperBound)"
        return Setting(
            key, default: fallback, expectation: "a whole number, \(range.lowerBound) \(upper)", documentation: doc,
            parse: { raw in
                guard case .text(let text) = raw, let number = Int(text), range.contains(number) else { return nil }
                return number
            }, show: { String($0) })
    }
}

extension Setting where Value == Bool {
    public static func bool(_ key: String, default fallback: Bool? = nil, doc: String) -> Setting<Bool> {
        Setting(
            key, default: fallback, expectation: "true or false", documentation: doc,
            parse: { raw in
                switch raw {
                case .text("true"): true
                case .text("false"): false
                default: nil
                }
            }, show: { $0 ? "true" : "false" })
    }
}

extension Setting where Value == Duration {
    /// A duration with a unit (`us`, `ms`, `s`, `m`, `h`, `d`) inside `range`. Without a default it is required.
    public static func duration(
        _ key: String, default fallback: Duration? = nil,
        in range: ClosedRange<Duration> = .zero ... .seconds(31_536_000),
        doc: String
    ) -> Setting<Duration> {
        let bounds = "\(DurationText.print(range.lowerBound)) to \(DurationText.print(range.upperBound))"
        return Setting(
            key, default: fallback, expectation: "a duration such as 10s or 250ms, \(bounds)", documentation: doc,
            parse: { raw in
                guard case .text(let text) = raw, let duration = DurationText.parse(text), range.contains(duration)
                else { return nil }
                return duration
            }, show: DurationText.print)
    }
}

extension Setting where Value == [String] {
    /// A list: comma-separated in the environment, an array in the file. Empty items are refused.
    public static func list(_ key: String, default fallback: [String]? = nil, doc: String) -> Setting<[String]> {
        Setting(
            key, default: fallback, expectation: "a comma-separated list without empty items", documentation: doc,
            parse: \.items, show: { $0.isEmpty ? "(empty)" : $0.joined(separator: ",") })
    }
}

extension Setting where Value == [String: String] {
    /// A list of `name=value` pairs; a name may stand once.
    public static func pairs(
        _ key: String, default fallback: [String: String]? = nil, doc: String
    ) -> Setting<[String: String]> {
        return Setting(
            key, default: fallback, expectation: "a comma-separated list of name=value, each name once",
            documentation: doc, parse: \.pairs,
            show: { pairs in
                guard !pairs.isEmpty else { return "(empty)" }
                return pairs.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
            })
    }
}

extension Setting where Value == Logger.Level {
    public static func level(_ key: String, default fallback: Logger.Level, doc: String) -> Setting<Logger.Level> {
        let words = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
        return Setting(
            key, default: fallback, expectation: "one of \(words)", documentation: doc,
            parse: { raw in
                guard case .text(let text) = raw else { return nil }
                return Logger.Level(rawValue: text)
            }, show: \.rawValue)
    }
}

extension Setting where Value == ListenAddress {
    /// `host:port`, IPv6 in brackets; port 0 asks the system for a free port. Without a default it is required.
    public static func listen(_ key: String, default fallback: ListenAddress? = nil, doc: String)
        -> Setting<ListenAddress>
    {
        Setting(
            key, default: fallback, expectation: "host:port such as 127.0.0.1:8080 or [::1]:8080",
            documentation: doc,
            parse: { raw in
                guard case .text(let text) = raw else { return nil }
                return ListenAddress(text)
            }, show: \.description)
    }
}

func trimmed(_ text: String) -> String {
    let bytes = Array(text.utf8)
    guard let first = bytes.firstIndex(where: { $0 != 0x20 && $0 != 0x09 }),
        let last = bytes.lastIndex(where: { $0 != 0x20 && $0 != 0x09 })
    else { return "" }
    return String(decoding: bytes[first...last], as: UTF8.self)
}
