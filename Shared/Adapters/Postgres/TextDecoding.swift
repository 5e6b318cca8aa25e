/// PostgreSQL's text forms, under the settings every connection is opened with (ISO dates, UTC, hexadecimal bytea).
enum TextDecoding {
    typealias Bytes = ArraySlice<UInt8>

    static func int(_ text: Bytes) -> Int64? {
        var digits = text
        let negative = digits.first == UInt8(ascii: "-")
        if negative { digits = digits.dropFirst() }
        guard !digits.isEmpty else { return nil }
        var value: Int64 = 0
        for byte in digits {
            guard let digit = decimal(byte) else { return nil }
            let (shifted, overflowed) = value.multipliedReportingOverflow(by: 10)
            let (next, carried) = shifted.subtractingReportingOverflow(digit)
            guard !overflowed, !carried else { return nil }
            value = next
        }
        if negative { return value }
        return value == .min ? nil : -value
    }

    static func bool(_ text: Bytes) -> Bool? {
        guard text.count == 1 else { return nil }
        switch text.first {
        case UInt8(ascii: "t"): return true
        case UInt8(ascii: "f"): return false
        default: return nil
        }
    }

    static func bytes(_ text: Bytes) -> [UInt8]? {
        guard text.count >= 2, text.count % 2 == 0, text.starts(with: [UInt8(ascii: "\\"), UInt8(ascii: "x")])
        else { return nil }
        var decoded: [UInt8] = []
        decoded.reserveCapacity(text.count / 2 - 1)
        var index = text.startIndex + 2
        while index < text.endIndex {
            guard let high = hexadecimal(text[index]), let low = hexadecimal(text[index + 1]) else { return nil }
            decoded.append(high << 4 | low)
            index += 2
        }
        return decoded
    }

    static func uuid(_ text: Bytes) -> (high: UInt64, low: UInt64)? {
        guard text.count == 36 else { return nil }
        var high: UInt64 = 0
        var low: UInt64 = 0
        for (position, byte) in text.enumerated() {
            if position == 8 || position == 13 || position == 18 || position == 23 {
                guard byte == UInt8(ascii: "-") else { return nil }
                continue
            }
            guard let digit = hexadecimal(byte) else { return nil }
            if position < 18 { high = high << 4 | UInt64(digit) } else { low = low << 4 | UInt64(digit) }
        }
        return (high, low)
    }

    /// One-dimensional arrays only.
    static func array(_ text: Bytes) -> [String?]? {
        var rest = text
        if rest.first == UInt8(ascii: "["), let sign = rest.firstIndex(of: UInt8(ascii: "=")) {
            rest = rest[(sign + 1)...]
        }
        guard rest.count >= 2, rest.first == UInt8(ascii: "{"), rest.last == UInt8(ascii: "}") else { return nil }
        rest = rest.dropFirst().dropLast()
        var elements: [String?] = []
        var index = rest.startIndex
        if index == rest.endIndex { return elements }
        while true {
            guard let element = element(of: rest, at: &index) else { return nil }
            elements.append(element.text)
            if index == rest.endIndex { return elements }
            guard rest[index] == UInt8(ascii: ",") else { return nil }
            index += 1
        }
    }

    static func intArray(_ text: Bytes) -> [Int64?]? {
        guard let elements = array(text) else { return nil }
        var values: [Int64?] = []
        values.reserveCapacity(elements.count)
        for element in elements {
            guard let element else {
                values.append(nil)
                continue
            }
            guard let value = Int64(element) else { return nil }
            values.append(value)
        }
        return values
    }

    private struct Element {
        /// `nil` for null.
        let text: String?
    }

    private static func element(of text: Bytes, at index: inout Int) -> Element? {
        guard index < text.endIndex else { return nil }
        if text[index] == UInt8(ascii: "\"") { return quoted(text, at: &index).map(Element.init) }
        let start = index
        while index < text.endIndex, text[index] != UInt8(ascii: ",") {
            if text[index] == UInt8(ascii: "{") { return nil }
            index += 1
        }
        guard index > start else { return nil }
        let word = String(decoding: text[start..<index], as: UTF8.self)
        return Element(text: word == "NULL" ? nil : word)
    }

    private static func quoted(_ text: Bytes, at index: inout Int) -> String? {
        var content: [UInt8] = []
        index += 1
        while index < text.endIndex {
            let byte = text[index]
            index += 1
            if byte == UInt8(ascii: "\"") { return String(decoding: content, as: UTF8.self) }
            guard byte == UInt8(ascii: "\\") else {
                content.append(byte)
                continue
            }
            guard index < text.endIndex else { return nil }
            content.append(text[index])
            index += 1
        }
        return nil
    }

    static func decimal(_ byte: UInt8) -> Int64? {
        byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") ? Int64(byte &- UInt8(ascii: "0")) : nil
    }

    private static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte &- UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte &- UInt8(ascii: "a") &+ 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte &- UInt8(ascii: "A") &+ 10
        default: nil
        }
    }
}
