/// RFC 2045 §6.7 for text: lines of at most 76 octets, every line end CR LF.
///
/// A dot or `From ` at the start of a line is encoded too, so that neither a transfer agent that stuffs dots wrongly
/// nor a mailbox file can change the text.
public enum QuotedPrintable {
    public static func append(_ text: String, to output: inout [UInt8]) {
        let input = Array(text.utf8)
        output.reserveCapacity(output.count + input.count + input.count / 8 + 64)
        var column = 0
        var index = 0
        while index < input.count {
            let octet = input[index]
            if octet == 0x0D || octet == 0x0A {
                index += octet == 0x0D && index + 1 < input.count && input[index + 1] == 0x0A ? 2 : 1
                output.append(0x0D)
                output.append(0x0A)
                column = 0
                continue
            }
            let endsLine = index + 1 == input.count || input[index + 1] == 0x0D || input[index + 1] == 0x0A
            var literal = isLiteral(octet, endsLine: endsLine) && (column > 0 || !isRisky(input, at: index))
            if column + (literal ? 1 : 3) > (endsLine ? 76 : 75) {
                output.append(UInt8(ascii: "="))
                output.append(0x0D)
                output.append(0x0A)
                column = 0
                literal = literal && !isRisky(input, at: index)
            }
            if literal {
                output.append(octet)
                column += 1
            } else {
                output.append(UInt8(ascii: "="))
                output.append(Hexadecimal.digits[Int(octet >> 4)])
                output.append(Hexadecimal.digits[Int(octet & 15)])
                column += 3
            }
            index += 1
        }
    }

    private static func isLiteral(_ octet: UInt8, endsLine: Bool) -> Bool {
        switch octet {
        case 0x3D: false
        case 0x21...0x7E: true
        case 0x20, 0x09: !endsLine
        default: false
        }
    }

    private static func isRisky(_ input: [UInt8], at index: Int) -> Bool {
        if input[index] == UInt8(ascii: ".") { return true }
        return input[index] == UInt8(ascii: "F") && input[index...].starts(with: [0x46, 0x72, 0x6F, 0x6D, 0x20])
    }

    /// The octets an encoded text stands for. Malformed escapes are kept as they are, as RFC 2045 advises readers.
    public static func decode(_ input: some Collection<UInt8>) -> [UInt8] {
        let input = Array(input)
        var output: [UInt8] = []
        output.reserveCapacity(input.count)
        var index = 0
        while index < input.count {
            guard input[index] == UInt8(ascii: "=") else {
                output.append(input[index])
                index += 1
                continue
            }
            if index + 2 < input.count, let high = value(input[index + 1]), let low = value(input[index + 2]) {
                output.append(high << 4 | low)
                index += 3
            } else if index + 2 < input.count, input[index + 1] == 0x0D, input[index + 2] == 0x0A {
                index += 3
            } else if index + 1 < input.count, input[index + 1] == 0x0A {
                index += 2
            } else {
                output.append(input[index])
                index += 1
            }
        }
        return output
    }

    private static func value(_ octet: UInt8) -> UInt8? {
        switch octet {
        case 0x30...0x39: octet - 0x30
        case 0x41...0x46: octet - 0x37
        case 0x61...0x66: octet - 0x57
        default: nil
        }
    }
}
