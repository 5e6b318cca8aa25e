// The fixed shapes of the busiest topics, read and written octet by octet: a general decoder and encoder take most of
// the time that an event takes in the projector.

/// Reads JSON in the plain spelling that our own writers use: no white space, no escapes, whole numbers.
///
/// Every method answers nil, or false, for anything else. That says nothing about the document: `StrictJSON` then
/// decides. What is accepted here must be what it reads too, with the same meaning.
struct PlainJSONReader {
    private let bytes: [UInt8]
    private(set) var index = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { index == bytes.count }

    /// Passes this octet, if it stands here.
    mutating func take(_ byte: UInt8) -> Bool {
        guard index < bytes.count, bytes[index] == byte else { return false }
        index += 1
        return true
    }

    /// The octets of a string without escapes and control characters.
    mutating func octets() -> ArraySlice<UInt8>? {
        guard take(UInt8(ascii: "\"")) else { return nil }
        let start = index
        while index < bytes.count {
            let byte = bytes[index]
            if byte == UInt8(ascii: "\"") {
                index += 1
                return bytes[start..<index - 1]
            }
            guard byte >= 0x20, byte != UInt8(ascii: "\\") else { return nil }
            index += 1
        }
        return nil
    }

    mutating func string() -> String? { octets().flatMap { String(validating: $0, as: UTF8.self) } }

    /// A number of at most 18 digits without sign, fraction, exponent and leading zero.
    mutating func number() -> Int64? {
        let start = index
        var value: Int64 = 0
        while index < bytes.count, index - start < 18, (0x30...0x39).contains(bytes[index]) {
            value = value * 10 + Int64(bytes[index] - 0x30)
            index += 1
        }
        guard index > start, bytes[start] != UInt8(ascii: "0") || index == start + 1 else { return nil }
        return value
    }
}

/// Writes JSON in the spelling of `StrictJSON.encode`, to the octet. The caller names members in sorted order.
struct PlainJSONWriter {
    private(set) var bytes: [UInt8] = []
    private var isFirst = true

    init(capacity: Int) {
        bytes.reserveCapacity(capacity)
        bytes.append(UInt8(ascii: "{"))
    }

    /// Ends the document, or the object that was begun last.
    mutating func end() {
        bytes.append(UInt8(ascii: "}"))
        isFirst = false
    }

    /// What follows, up to `end`, are members of an object.
    mutating func begin(_ name: String) {
        self.name(name)
        bytes.append(UInt8(ascii: "{"))
        isFirst = true
    }

    /// - Parameter name: without anything to escape.
    mutating func name(_ name: String) {
        bytes.append(isFirst ? UInt8(ascii: "\"") : UInt8(ascii: ","))
        if !isFirst { bytes.append(UInt8(ascii: "\"")) }
        isFirst = false
        bytes.append(contentsOf: name.utf8)
        bytes.append(UInt8(ascii: "\""))
        bytes.append(UInt8(ascii: ":"))
    }

    mutating func member(_ name: String, _ value: Int64) {
        self.name(name)
        bytes.append(decimal: value)
    }

    mutating func member(_ name: String, _ value: Bool) {
        self.name(name)
        bytes.append(contentsOf: (value ? "true" : "false").utf8)
    }

    mutating func member(_ name: String, _ text: String) throws {
        self.name(name)
        try append(text)
    }

    mutating func member(_ name: String, time microseconds: Int64) {
        self.name(name)
        bytes.append(UInt8(ascii: "\""))
        Timestamp.append(microseconds: microseconds, to: &bytes)
        bytes.append(UInt8(ascii: "\""))
    }

    /// Texts that need no escape.
    mutating func member(_ name: String, plain texts: some Sequence<String>) {
        self.name(name)
        bytes.append(UInt8(ascii: "["))
        var isFirst = true
        for text in texts {
            if !isFirst { bytes.append(UInt8(ascii: ",")) }
            isFirst = false
            bytes.append(UInt8(ascii: "\""))
            bytes.append(contentsOf: text.utf8)
            bytes.append(UInt8(ascii: "\""))
        }
        bytes.append(UInt8(ascii: "]"))
    }

    private mutating func append(_ text: String) throws {
        let start = bytes.count
        bytes.append(UInt8(ascii: "\""))
        bytes.append(contentsOf: text.utf8)
        var needsEscape = false
        for index in start + 1..<bytes.count {
            let byte = bytes[index]
            if byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte >= 0x7f {
                needsEscape = true
            }
        }
        guard needsEscape else {
            bytes.append(UInt8(ascii: "\""))
            return
        }
        bytes.removeSubrange(start...)
        bytes.append(contentsOf: try StrictJSON.encode(text))
    }
}

extension [UInt8] {
    /// A number as `String(_:)` spells it.
    mutating func append(decimal value: Int64) {
        if value < 0 { append(UInt8(ascii: "-")) }
        var rest = value.magnitude
        var divisor: UInt64 = 1
        while rest / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest / divisor))
            rest %= divisor
            divisor /= 10
        }
    }
}
