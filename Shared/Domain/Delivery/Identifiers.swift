/// A 128-bit identifier in the layout of RFC 9562, kept as two words so that the domain needs no Foundation.
public struct BlastID: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let high: UInt64
    public let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Reads the 36-character form `8-4-4-4-12`, upper or lower case; anything else is nil.
    public init?(_ text: String) { self.init(octets: text.utf8) }

    init?(octets: some Sequence<UInt8>) {
        var words: (UInt64, UInt64) = (0, 0)
        var digits = 0
        var position = 0
        for byte in octets {
            defer { position += 1 }
            if position == 8 || position == 13 || position == 18 || position == 23 {
                guard byte == UInt8(ascii: "-") else { return nil }
                continue
            }
            let digit: UInt64
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = UInt64(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = UInt64(byte - UInt8(ascii: "a")) + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = UInt64(byte - UInt8(ascii: "A")) + 10
            default: return nil
            }
            if digits < 16 { words.0 = words.0 << 4 | digit } else { words.1 = words.1 << 4 | digit }
            digits += 1
        }
        guard position == 36, digits == 32 else { return nil }
        self.init(high: words.0, low: words.1)
    }

    public var description: String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(36)
        append(to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    func append(to bytes: inout [UInt8]) {
        for index in 0..<32 {
            if index == 8 || index == 12 || index == 16 || index == 20 { bytes.append(UInt8(ascii: "-")) }
            let word = index < 16 ? high : low
            let digit = UInt8(truncatingIfNeeded: word >> UInt64((15 - index % 16) * 4)) & 0xf
            bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
        }
    }

    public static func < (a: BlastID, b: BlastID) -> Bool { (a.high, a.low) < (b.high, b.low) }
}

/// One recipient address of one blast: the unit that has a status.
public struct DeliveryID: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let blast: BlastID
    /// Counts from 1 within the blast, in the order of the uploaded list.
    public let recipientNumber: Int32

    public init(blast: BlastID, recipientNumber: Int32) {
        self.blast = blast
        self.recipientNumber = recipientNumber
    }

    /// Reads `blast/recipient`, the published form and the Kafka key.
    public init?(_ text: String) { self.init(octets: Array(text.utf8)) }

    /// The same from its octets, as a Kafka key or header holds them.
    public init?(octets: [UInt8]) {
        guard let slash = octets.firstIndex(of: UInt8(ascii: "/")), let blast = BlastID(octets: octets[..<slash])
        else { return nil }
        var number: Int64 = 0
        for byte in octets[(slash + 1)...] {
            guard (0x30...0x39).contains(byte), number > 0 || byte != 0x30 else { return nil }
            number = number * 10 + Int64(byte - 0x30)
            guard number <= Int32.max else { return nil }
        }
        guard number > 0 else { return nil }
        self.init(blast: blast, recipientNumber: Int32(number))
    }

    /// The octets of `description`, which are the Kafka key.
    public var octets: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(48)
        blast.append(to: &bytes)
        bytes.append(UInt8(ascii: "/"))
        bytes.append(contentsOf: String(recipientNumber).utf8)
        return bytes
    }

    public var description: String { String(decoding: octets, as: UTF8.self) }
    public static func < (a: DeliveryID, b: DeliveryID) -> Bool {
        (a.blast, a.recipientNumber) < (b.blast, b.recipientNumber)
    }
}

/// A school district, the tenant.
public struct DistrictID: Hashable, Sendable, CustomStringConvertible {
    public let number: Int64
    public init(_ number: Int64) { self.number = number }
    public var description: String { String(number) }
}
