import Mail

/// Reads a received message the way a mailbox would: header fields, the HTML part, the links in it.
struct MessageReader: Sendable {
    private let fields: [String: String]
    private let body: ArraySlice<UInt8>

    init(_ octets: [UInt8]) {
        (fields, body) = Self.split(octets[...])
    }

    /// The first field of that name (lower case), unfolded.
    func header(_ name: String) -> String? { fields[name] }

    /// The address for RFC 8058 one-click, when the message announces it.
    var oneClickURL: String? {
        guard header("list-unsubscribe-post") == "List-Unsubscribe=One-Click" else { return nil }
        for item in (header("list-unsubscribe") ?? "").split(separator: ",") {
            let url = item.drop { $0 == " " || $0 == "<" }.prefix { $0 != ">" }
            if url.hasPrefix("http") { return String(url) }
        }
        return nil
    }

    /// The first image that counts opens, and every link that counts clicks.
    var tracked: (pixel: String?, links: [String]) {
        let html = self.html
        let pixel = Self.attributes("src", ofTag: "img", in: html).first { $0.contains("/o/") }
        return (pixel, Self.attributes("href", ofTag: "a", in: html).filter { $0.contains("/c/") })
    }

    private var html: [UInt8] {
        let type = fields["content-type"] ?? ""
        guard type.lowercased().hasPrefix("multipart/") else { return decoded(fields, body) }
        guard let boundary = Self.parameter("boundary", of: type) else { return [] }
        let marker = Array("--\(boundary)".utf8)
        var start: Int?
        for line in Self.lines(of: body) where body[line].starts(with: marker) {
            if let start {
                let (partFields, partBody) = Self.split(body[start..<line.lowerBound])
                if (partFields["content-type"] ?? "").lowercased().hasPrefix("text/html") {
                    return decoded(partFields, partBody)
                }
            }
            start = line.upperBound
        }
        return []
    }

    private func decoded(_ fields: [String: String], _ body: ArraySlice<UInt8>) -> [UInt8] {
        let encoding = (fields["content-transfer-encoding"] ?? "").lowercased()
        return encoding == "quoted-printable" ? QuotedPrintable.decode(body) : Array(body)
    }

    private static func split(_ octets: ArraySlice<UInt8>) -> ([String: String], ArraySlice<UInt8>) {
        var fields: [String: String] = [:]
        var name = ""
        for line in lines(of: octets) {
            var text = octets[line]
            while let last = text.last, last == 10 || last == 13 { text.removeLast() }
            guard let first = text.first else { return (fields, octets[line.upperBound...]) }
            if first == 0x20 || first == 0x09 {
                if !name.isEmpty { fields[name, default: ""] += String(decoding: text, as: UTF8.self) }
            } else if let colon = text.firstIndex(of: 0x3A) {
                name = String(decoding: text[..<colon], as: UTF8.self).lowercased()
                let value = text[(colon + 1)...].drop { $0 == 0x20 }
                if fields[name] == nil { fields[name] = String(decoding: value, as: UTF8.self) } else { name = "" }
            }
        }
        return (fields, [])
    }

    /// The ranges of the lines, each with its line end.
    private static func lines(of octets: ArraySlice<UInt8>) -> some Sequence<Range<Int>> {
        sequence(state: octets.startIndex) { start -> Range<Int>? in
            guard start < octets.endIndex else { return nil }
            let end = octets[start...].firstIndex(of: 10).map { $0 + 1 } ?? octets.endIndex
            defer { start = end }
            return start..<end
        }
    }

    private static func parameter(_ name: String, of field: String) -> String? {
        for piece in field.split(separator: ";").dropFirst() {
            let pair = piece.split(separator: "=", maxSplits: 1)
            guard pair.count == 2, pair[0].filter({ $0 != " " }).lowercased() == name else { continue }
            return String(pair[1].filter { $0 != "\"" })
        }
        return nil
    }

    private static func attributes(_ attribute: String, ofTag tag: String, in html: [UInt8]) -> [String] {
        let opening = Array("<\(tag)".utf8)
        let assignment = Array("\(attribute)=\"".utf8)
        var result: [String] = []
        var index = 0
        while let start = html[index...].firstIndex(of: UInt8(ascii: "<")) {
            index = start + 1
            guard html[start...].starts(with: opening), let end = html[start...].firstIndex(of: UInt8(ascii: ">")),
                end > start + opening.count, html[start + opening.count] <= 0x20
            else { continue }
            index = end
            let text = html[start..<end]
            guard let at = text.indices.first(where: { text[$0...].starts(with: assignment) }) else { continue }
            let value = text[(at + assignment.count)...].prefix { $0 != UInt8(ascii: "\"") }
            result.append(unescaped(String(decoding: value, as: UTF8.self)))
        }
        return result
    }

    private static func unescaped(_ text: String) -> String {
        text.contains("&")
            ? text.replacing("&#x2F;", with: "/").replacing("&#x3D;", with: "=").replacing("&amp;", with: "&") : text
    }
}
