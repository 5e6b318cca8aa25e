/// Text as HTML shows it.
public enum MarkupText {
    /// Escaped for text and for attributes in quotes, octet by octet: a quotation mark followed by a combining character
    /// is one `Character`, and a browser still sees the mark. Not fit for scripts, styles and attributes without quotes.
    public static func escape(_ text: String) -> String {
        var octets: [UInt8] = []
        octets.reserveCapacity(text.utf8.count)
        for octet in text.utf8 {
            switch octet {
            case UInt8(ascii: "<"): octets += Array("&lt;".utf8)
            case UInt8(ascii: ">"): octets += Array("&gt;".utf8)
            case UInt8(ascii: "&"): octets += Array("&amp;".utf8)
            case UInt8(ascii: "\""): octets += Array("&quot;".utf8)
            case UInt8(ascii: "'"): octets += Array("&#39;".utf8)
            case UInt8(ascii: "`"): octets += Array("&#96;".utf8)
            default: octets.append(octet)
            }
        }
        return String(decoding: octets, as: UTF8.self)
    }
}
