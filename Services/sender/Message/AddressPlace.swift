/// Where in an address its text has come to, as far as a template tells: sections may or may not be there.
struct AddressPlace {
    private enum Part: Hashable {
        /// Nothing of the address stands before.
        case beginning
        case path
        /// Directly behind the question mark, where a value may be the whole query.
        case queryBeginning
        case query
    }

    private var parts: Set<Part> = [.beginning]
    /// What was before each section that is open.
    private var sections: [Set<Part>] = []

    /// How a value is escaped here; nil where it may be the whole address.
    var escape: ValueEscape? {
        if parts.contains(.beginning) { return nil }
        return parts == [.query] ? .query : .path
    }

    /// - Parameter text: what follows in the template; it is not empty.
    /// - Returns: how much of it was passed.
    mutating func pass(_ text: ArraySlice<UInt8>) -> Int {
        let (octet, count) = Self.character(text)
        switch octet {
        case UInt8(ascii: "?"): parts = [.queryBeginning]
        case UInt8(ascii: "#"), UInt8(ascii: "&"): parts = [.query]
        case 0...0x20: break
        default: goOn()
        }
        return count
    }

    mutating func passValue() { goOn() }

    private mutating func goOn() {
        if parts.remove(.beginning) != nil { parts.insert(.path) }
        if parts.remove(.queryBeginning) != nil { parts.insert(.query) }
    }

    mutating func enterSection() { sections.append(parts) }

    mutating func leaveSection() {
        if let before = sections.popLast() { parts.formUnion(before) }
    }

    private static let references: [(text: String, octet: UInt8)] = [
        ("&amp;", UInt8(ascii: "&")), ("&#38;", UInt8(ascii: "&")), ("&#x26;", UInt8(ascii: "&")),
        ("&quest;", UInt8(ascii: "?")), ("&#63;", UInt8(ascii: "?")), ("&#x3f;", UInt8(ascii: "?")),
        ("&num;", UInt8(ascii: "#")), ("&#35;", UInt8(ascii: "#")), ("&#x23;", UInt8(ascii: "#")),
    ]

    /// The first character of HTML text, for which a reference may stand; any other reference counts as a letter.
    private static func character(_ text: ArraySlice<UInt8>) -> (octet: UInt8, count: Int) {
        let first = text[text.startIndex]
        guard first == UInt8(ascii: "&") else { return (first, 1) }
        let start = text.prefix(8).map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }
        if let known = references.first(where: { start.starts(with: $0.text.utf8) }) {
            return (known.octet, known.text.utf8.count)
        }
        let name = text.dropFirst().prefix(12).prefix {
            (0x30...0x39).contains($0) || (0x61...0x7A).contains($0 | 0x20) || $0 == UInt8(ascii: "#")
        }
        guard !name.isEmpty, text.dropFirst(1 + name.count).first == UInt8(ascii: ";") else { return (first, 1) }
        return (UInt8(ascii: "x"), name.count + 2)
    }
}
