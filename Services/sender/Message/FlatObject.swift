/// Reads a JSON object of texts as the database writes it, once and from left to right.
///
/// It does not judge JSON: what it does not know, nested values and `\u` escapes above all, it leaves to a full parser.
struct FlatObject {
    private let octets: [UInt8]
    private var index = 0

    init(_ text: String) { octets = Array(text.utf8) }

    /// - Parameter member: gets a key and its text, or nil for a number, a truth value and null; false ends it.
    /// - Returns: whether all of it was read.
    mutating func read(_ member: (ArraySlice<UInt8>, [UInt8]?) -> Bool) -> Bool {
        guard takes("{") else { return false }
        if takes("}") { return isAtEnd }
        repeat {
            skipSpace()
            guard let key = string(), key.isPlain, !Self.isLookAlike(octets[key.range]), takes(":") else {
                return false
            }
            skipSpace()
            guard index < octets.count, octets[index] != UInt8(ascii: "{"), octets[index] != UInt8(ascii: "[") else {
                return false
            }
            if octets[index] == UInt8(ascii: "\"") {
                guard let value = string(),
                    let text = value.isPlain ? Array(octets[value.range]) : Self.unescaped(octets[value.range]),
                    member(octets[key.range], text)
                else { return false }
            } else {
                while index < octets.count, octets[index] != UInt8(ascii: ","), octets[index] != UInt8(ascii: "}") {
                    index += 1
                }
                guard member(octets[key.range], nil) else { return false }
            }
        } while takes(",")
        return takes("}") && isAtEnd
    }

    private var isAtEnd: Bool { index == octets.count }

    private mutating func skipSpace() { while index < octets.count, octets[index] == 0x20 { index += 1 } }

    private mutating func takes(_ sign: Unicode.Scalar) -> Bool {
        skipSpace()
        guard index < octets.count, octets[index] == UInt8(ascii: sign) else { return false }
        index += 1
        return true
    }

    /// What stands between quotation marks, and whether it stands for itself.
    private mutating func string() -> (range: Range<Int>, isPlain: Bool)? {
        guard index < octets.count, octets[index] == UInt8(ascii: "\"") else { return nil }
        let start = index + 1
        var isPlain = true
        index = start
        while index < octets.count {
            switch octets[index] {
            case UInt8(ascii: "\""):
                index += 1
                return (start..<(index - 1), isPlain)
            case UInt8(ascii: "\\"):
                isPlain = false
                index += 2
            case 0..<0x20: return nil
            default: index += 1
            }
        }
        return nil
    }

    private static func unescaped(_ text: ArraySlice<UInt8>) -> [UInt8]? {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        var isEscaped = false
        for octet in text {
            guard isEscaped else {
                if octet == UInt8(ascii: "\\") { isEscaped = true } else { result.append(octet) }
                continue
            }
            isEscaped = false
            switch octet {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(octet)
            case UInt8(ascii: "n"): result.append(0x0A)
            case UInt8(ascii: "r"): result.append(0x0D)
            case UInt8(ascii: "t"): result.append(0x09)
            case UInt8(ascii: "b"): result.append(0x08)
            case UInt8(ascii: "f"): result.append(0x0C)
            default: return nil
            }
        }
        return result
    }

    /// The Kelvin sign is the one character that a `String` holds equal to a letter of a tag's name.
    private static func isLookAlike(_ key: ArraySlice<UInt8>) -> Bool {
        guard key.contains(where: { $0 >= 0x80 }) else { return false }
        return key.indices.contains { key[$0...].starts(with: [0xE2, 0x84, 0xAA]) }
    }
}
