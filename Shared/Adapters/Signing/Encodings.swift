import Foundation

/// RFC 4648 §5 without padding.
public enum Base64URL {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    public static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        text.reserveCapacity(bytes.count / 3 * 4 + 3)
        append(bytes, to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Appends what `encode` gives, as octets.
    public static func append(_ bytes: [UInt8], to text: inout [UInt8]) {
        let alphabet = alphabet
        var index = 0
        text.append(addingCapacity: bytes.count / 3 * 4) { digits in
            while index + 2 < bytes.count {
                let bits = Int(bytes[index]) << 16 | Int(bytes[index + 1]) << 8 | Int(bytes[index + 2])
                digits.append(alphabet[bits >> 18])
                digits.append(alphabet[bits >> 12 & 63])
                digits.append(alphabet[bits >> 6 & 63])
                digits.append(alphabet[bits & 63])
                index += 3
            }
        }
        if index < bytes.count { appendDigits(of: Array(bytes[index...]), bits: 6, alphabet, to: &text) }
    }

    public static func decode(_ text: String) -> [UInt8]? {
        guard text.utf8.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "=") })
        else { return nil }
        var padded = text.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
        while padded.utf8.count % 4 != 0 { padded += "=" }
        return Data(base64Encoded: padded).map { [UInt8]($0) }
    }
}

/// Lower-case hexadecimal.
public enum Hexadecimal {
    public static func string(_ bytes: some Sequence<UInt8>) -> String {
        var text: [UInt8] = []
        let digits = Array("0123456789abcdef".utf8)
        for byte in bytes {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    public static func bytes(_ text: String) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count.isMultiple(of: 2) else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard digits[index].isHexadecimal, digits[index + 1].isHexadecimal,
                let byte = UInt8(String(decoding: digits[index...(index + 1)], as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(byte)
        }
        return bytes
    }
}

extension UInt8 {
    fileprivate var isHexadecimal: Bool {
        (0x30...0x39).contains(self) || (0x41...0x46).contains(self) || (0x61...0x66).contains(self)
    }
}

/// RFC 4648 §6 in lower case, without padding.
public enum Base32 {
    private static let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)

    public static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count * 8 + 4) / 5)
        appendDigits(of: bytes, bits: 5, alphabet, to: &text)
        return String(decoding: text, as: UTF8.self)
    }
}

/// Octets as digits of so many bits each, the last one filled up with zeros.
private func appendDigits(of bytes: [UInt8], bits width: Int, _ alphabet: [UInt8], to text: inout [UInt8]) {
    var (bits, count, mask) = (UInt32(0), 0, (UInt32(1) << UInt32(width)) - 1)
    for byte in bytes {
        bits = bits << 8 | UInt32(byte)
        count += 8
        while count >= width {
            count -= width
            text.append(alphabet[Int(bits >> UInt32(count) & mask)])
        }
    }
    if count > 0 { text.append(alphabet[Int(bits << UInt32(width - count) & mask)]) }
}
