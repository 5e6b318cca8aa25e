/// The name of a projection of the event history: the live one, which everybody reads, or a second one in tables of its
/// own.
public struct ProjectionName: Hashable, Sendable, CustomStringConvertible {
    public static let live = ProjectionName(known: "live")
    /// What a name may be, for messages.
    public static let rule = "up to 30 small letters, digits and _, beginning with a letter"

    public let text: String

    /// Nil for a text that breaks the rule. What passes is safe to spell into SQL.
    public init?(_ text: String) {
        guard text.wholeMatch(of: /[a-z][a-z0-9_]{0,29}/) != nil else { return nil }
        self.text = text
    }

    private init(known text: String) { self.text = text }

    public var isLive: Bool { self == .live }

    /// The schema that has a second projection's tables.
    public var schema: String { "projection_\(text)" }

    public var description: String { text }
}
