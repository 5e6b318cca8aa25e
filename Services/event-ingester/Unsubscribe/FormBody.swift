/// The fields of a posted HTML form, in either of the two encodings that RFC 8058 allows.
struct FormBody: Sendable, Equatable {
    struct Field: Sendable, Equatable {
        let name: String
        let value: String
    }

    static let octetsMax = 8192

    let fields: [Field]

    /// Nil for another content type or a body that is not what it says.
    init?(_ body: [UInt8], contentType: String) {
        let parts = contentType.split(separator: ";").map { Self.trimmed(Substring($0)) }
        switch parts.first?.lowercased() {
        case "application/x-www-form-urlencoded": fields = Self.urlEncoded(body)
        case "multipart/form-data":
            guard let boundary = parts.dropFirst().lazy.compactMap({ Self.parameter("boundary", $0) }).first,
                (1...70).contains(boundary.utf8.count)
            else { return nil }
            fields = Self.multipart(body, boundary: Array(boundary.utf8))
        default: return nil
        }
    }

    func has(_ name: String, _ value: String) -> Bool { fields.contains { $0.name == name && $0.value == value } }

    // MARK: application/x-www-form-urlencoded

    private static func urlEncoded(_ body: [UInt8]) -> [Field] {
        body.split(separator: UInt8(ascii: "&")).map { pair in
            let parts = pair.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            return Field(name: decoded(parts[0]), value: parts.count > 1 ? decoded(parts[1]) : "")
        }
    }

    private static func decoded(_ bytes: ArraySlice<UInt8>) -> String {
        var result: [UInt8] = []
        var rest = bytes
        while let byte = rest.popFirst() {
            let digits = String(decoding: rest.prefix(2), as: UTF8.self)
            if byte == UInt8(ascii: "%"), digits.utf8.count == 2, digits.utf8.first != UInt8(ascii: "+"),
                let value = UInt8(digits, radix: 16)
            {
                result.append(value)
                rest = rest.dropFirst(2)
            } else {
                result.append(byte == UInt8(ascii: "+") ? 0x20 : byte)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    // MARK: multipart/form-data

    private static func multipart(_ body: [UInt8], boundary: [UInt8]) -> [Field] {
        let lineEnd: [UInt8] = [0x0D, 0x0A]
        // With a line end in front, the first delimiter looks like the others.
        let sections = split(lineEnd + body, by: lineEnd + [0x2D, 0x2D] + boundary)
        return sections.dropFirst().compactMap { section in
            guard !section.starts(with: [0x2D, 0x2D]) else { return nil }
            let halves = split(Array(section), by: lineEnd + lineEnd, max: 1)
            guard halves.count == 2 else { return nil }
            for line in split(Array(halves[0]), by: lineEnd) {
                let header = String(decoding: line, as: UTF8.self)
                guard header.lowercased().hasPrefix("content-disposition:") else { continue }
                let parameters = header.split(separator: ";").dropFirst().map { trimmed($0) }
                guard let name = parameters.lazy.compactMap({ parameter("name", $0) }).first else { return nil }
                return Field(name: name, value: String(decoding: halves[1], as: UTF8.self))
            }
            return nil
        }
    }

    private static func split(_ bytes: [UInt8], by separator: [UInt8], max: Int = .max) -> [ArraySlice<UInt8>] {
        var parts: [ArraySlice<UInt8>] = []
        var start = 0
        var index = 0
        while index + separator.count <= bytes.count, parts.count < max {
            if bytes[index..<(index + separator.count)].elementsEqual(separator) {
                parts.append(bytes[start..<index])
                index += separator.count
                start = index
            } else {
                index += 1
            }
        }
        parts.append(bytes[start...])
        return parts
    }

    /// The value of `name=value` or `name="value"`.
    private static func parameter(_ name: String, _ text: String) -> String? {
        guard text.lowercased().hasPrefix(name + "=") else { return nil }
        let value = text.dropFirst(name.count + 1)
        guard value.hasPrefix("\"") else { return String(value) }
        return value.count >= 2 && value.hasSuffix("\"") ? String(value.dropFirst().dropLast()) : nil
    }

    private static func trimmed(_ text: Substring) -> String {
        String(text.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
    }
}
