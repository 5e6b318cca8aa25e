/// Text as HTML shows it.
public enum MarkupText {
    /// Escaped for text and for attributes in quotes, octet by octet: a quotation mark followed by a combining character
    /// is one `Character`, and a browser still sees the mark. Not fit for scripts, styles and attributes without quotes.
    public static func escape(_ text: String) -> String { String(decoding: escape(Array(text.utf8)), as: UTF8.self) }

    /// The same of a text's octets.
    public static func escape(_ text: [UInt8]) -> [UInt8] {
        guard needsEscape(text) else { return text }
        var octets: [UInt8] = []
        octets.reserveCapacity(text.count + 32)
        for octet in text {
            if let reference = reference(for: octet) { octets += reference.utf8 } else { octets.append(octet) }
        }
        return octets
    }

    /// Whether `escape` gives anything else than the text.
    public static func needsEscape(_ text: [UInt8]) -> Bool { text.contains { reference(for: $0) != nil } }

    private static func reference(for octet: UInt8) -> String? {
        switch octet {
        case UInt8(ascii: "<"): "&lt;"
        case UInt8(ascii: ">"): "&gt;"
        case UInt8(ascii: "&"): "&amp;"
        case UInt8(ascii: "\""): "&quot;"
        case UInt8(ascii: "'"): "&#39;"
        case UInt8(ascii: "`"): "&#96;"
        default: nil
        }
    }
}
