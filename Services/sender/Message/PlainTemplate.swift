/// A Mustache template of texts and plain tags (`{{name}}`, `{{{name}}}`) only, cut up once and joined per recipient.
///
/// It renders octet for octet what Mustache does. Whatever it is not sure of it leaves to Mustache: sections, comments,
/// dotted names, transforms, tags beside characters that might combine with a brace, and values that are no text.
struct PlainTemplate: Sendable {
    struct Tag: Sendable {
        /// With its braces.
        let range: Range<Int>
        let name: String
        let escape: ValueEscape
    }

    let octets: [UInt8]
    private(set) var tags: [Tag] = []

    /// Nil when there is anything else in it. The template has to be one that Mustache accepts.
    /// - Parameter isMarkup: values of `{{name}}` are escaped by where they stand.
    init?(_ template: String, isMarkup: Bool) {
        octets = Array(template.utf8)
        guard !Self.endsInIndentation(octets) else { return nil }
        let addressed = isMarkup ? AnchorScanner.addressedValues(inTemplate: octets) : [:]
        var index = 0
        while let open = Self.find(0x7B, in: octets, from: index) {
            let depth = octets[open...].starts(with: [0x7B, 0x7B, 0x7B]) ? 3 : 2
            guard let (name, end) = Self.tag(in: octets, from: open + depth, depth),
                open == 0 || octets[open - 1] < 0x80, end == octets.count || octets[end] < 0x80
            else { return nil }
            let escape = isMarkup && depth == 2 ? addressed[open] ?? .markup : .none
            tags.append(Tag(range: open..<end, name: name, escape: escape))
            index = end
        }
    }

    /// Nil when a value is no text.
    func render(_ values: [String: Any]) -> String? {
        var result: [UInt8] = []
        result.reserveCapacity(octets.count + 256)
        var copied = 0
        for tag in tags {
            result += octets[copied..<tag.range.lowerBound]
            copied = tag.range.upperBound
            guard let value = values[tag.name] else { continue }
            guard let text = value as? String else { return nil }
            result += tag.escape(text).utf8
        }
        result += octets[copied...]
        return String(decoding: result, as: UTF8.self)
    }

    /// Which tag is the first at an octet or behind it.
    func tagIndex(at octet: Int) -> Int {
        var (low, high) = (0, tags.count)
        while low < high {
            let middle = (low + high) / 2
            if tags[middle].range.lowerBound < octet { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Mustache drops a last line of nothing but blanks.
    private static func endsInIndentation(_ octets: [UInt8]) -> Bool {
        let rest = octets.reversed().drop { $0 == 0x20 || $0 == 0x09 }
        return rest.count < octets.count && (rest.isEmpty || rest.first == 0x0A || rest.first == 0x0D)
    }

    /// Where two of `brace` stand next.
    private static func find(_ brace: UInt8, in octets: [UInt8], from start: Int) -> Int? {
        var index = start
        while index + 1 < octets.count {
            if octets[index] == brace, octets[index + 1] == brace { return index }
            index += 1
        }
        return nil
    }

    /// The name of the tag that is open at `start`, and where the text behind it begins.
    private static func tag(in octets: [UInt8], from start: Int, _ depth: Int) -> (name: String, end: Int)? {
        guard let close = find(0x7D, in: octets, from: start) else { return nil }
        let name = octets[start..<close].drop { $0 == 0x20 }.reversed().drop { $0 == 0x20 }.reversed()
        let isPlain = name.allSatisfy { octet in
            (0x30...0x39).contains(octet) || (0x61...0x7A).contains(octet | 0x20) || octet == 0x5F
        }
        guard isPlain, !name.isEmpty, depth == 2 || octets[close...].starts(with: [0x7D, 0x7D, 0x7D]) else {
            return nil
        }
        return (String(decoding: Array(name), as: UTF8.self), close + depth)
    }
}
