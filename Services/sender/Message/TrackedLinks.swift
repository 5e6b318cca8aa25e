/// The links of a message whose clicks are counted.
///
/// A link is tracked when its `href` is an http or https address written out in the template: a merge field in it would
/// make it different for every recipient, and its destination has to be known when the blast is sent, because a click
/// is only ever redirected to a stored destination. The number of a link is its position in `find(inTemplate:)`,
/// counted from 1; intake stores the numbers, dispatch rewrites by them.
enum TrackedLinks {
    private static let longestDestination = 2000

    /// The destinations in an HTML template, in order of first appearance, each once, with character references
    /// resolved.
    static func find(inTemplate html: String) -> [String] {
        let bytes = Array(html.utf8)
        var seen: Set<[UInt8]> = []
        var destinations: [String] = []
        for range in AnchorScanner.hrefs(in: bytes, isTemplate: true) {
            guard let destination = destination(bytes[range], isTemplate: true), seen.insert(destination).inserted
            else { continue }
            destinations.append(String(decoding: destination, as: UTF8.self))
        }
        return destinations
    }

    /// Replaces the destinations in a rendered message by what `link` gives for them; nil leaves one as it is.
    ///
    /// - Parameter link: gets the octets of a destination; returns text that needs no escaping in an attribute.
    static func rewrite(_ html: [UInt8], link: ([UInt8]) -> String?) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(html.count + 1024)
        var copied = 0
        for range in AnchorScanner.hrefs(in: html, isTemplate: false) {
            guard let destination = destination(html[range], isTemplate: false), let link = link(destination)
            else { continue }
            result += html[copied..<range.lowerBound]
            result += Array(link.utf8)
            copied = range.upperBound
        }
        result += html[copied...]
        return result
    }

    /// Puts `markup` before the last `</body>`, or at the end.
    static func insert(_ markup: String, intoBodyOf html: [UInt8]) -> [UInt8] {
        guard let index = bodyEnd(in: html) else { return html + Array(markup.utf8) }
        return html[..<index] + Array(markup.utf8) + html[index...]
    }

    /// Where the last `</body` begins.
    static func bodyEnd(in html: [UInt8]) -> Int? {
        var index = html.count - endOfBody.count
        while index >= 0 {
            if html[index] == UInt8(ascii: "<"), isEnd(html[index..<(index + endOfBody.count)]) { return index }
            index -= 1
        }
        return nil
    }

    /// Whether the text ends in the middle of what may become `</body`.
    static func breaksBodyEnd(_ text: ArraySlice<UInt8>) -> Bool {
        (1..<endOfBody.count).contains { count in
            let end = text.suffix(count)
            return end.first == UInt8(ascii: "<") && isEnd(end)
        }
    }

    private static let endOfBody = Array("</body".utf8)

    private static func isEnd(_ text: ArraySlice<UInt8>) -> Bool {
        text.elementsEqual(endOfBody.prefix(text.count), by: { $0 | 0x20 == $1 | 0x20 })
    }

    /// The address a browser would open, or nil when it is not one that is tracked.
    static func destination(_ value: ArraySlice<UInt8>, isTemplate: Bool) -> [UInt8]? {
        if isTemplate, String(decoding: value, as: UTF8.self).contains("{{") { return nil }
        let trimmed = value.drop { $0 <= 0x20 }
        let end = trimmed.lastIndex { $0 > 0x20 }.map { $0 + 1 } ?? trimmed.startIndex
        let decoded = resolved(trimmed[trimmed.startIndex..<end])
        let scheme = decoded.prefix(8).map { (0x41...0x5A).contains($0) ? $0 + 0x20 : $0 }
        guard scheme.starts(with: Array("http://".utf8)) || scheme == Array("https://".utf8),
            decoded.count <= longestDestination, decoded.allSatisfy({ (0x21...0x7E).contains($0) })
        else { return nil }
        return decoded
    }

    /// Character references as they occur in addresses; any other stays as written.
    private static func resolved(_ value: ArraySlice<UInt8>) -> [UInt8] {
        guard value.contains(UInt8(ascii: "&")) else { return Array(value) }
        let references: [(text: String, byte: UInt8)] = [
            ("&amp;", UInt8(ascii: "&")), ("&#38;", UInt8(ascii: "&")), ("&#x26;", UInt8(ascii: "&")),
            ("&quot;", UInt8(ascii: "\"")), ("&#34;", UInt8(ascii: "\"")), ("&#39;", UInt8(ascii: "'")),
            ("&apos;", UInt8(ascii: "'")), ("&lt;", UInt8(ascii: "<")), ("&gt;", UInt8(ascii: ">")),
            ("&#61;", UInt8(ascii: "=")), ("&#x3D;", UInt8(ascii: "=")),
        ]
        var result: [UInt8] = []
        var rest = value
        while let byte = rest.first {
            if byte == UInt8(ascii: "&"), let reference = references.first(where: { rest.starts(with: $0.text.utf8) }) {
                result.append(reference.byte)
                rest = rest.dropFirst(reference.text.utf8.count)
            } else {
                result.append(byte)
                rest = rest.dropFirst()
            }
        }
        return result
    }
}
