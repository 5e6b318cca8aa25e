import Delivery

/// RFC 2045 §6.7 for text: lines of at most 76 octets, every line end CR LF.
///
/// A dot or `From ` at the start of a line is encoded too, so that neither a transfer agent that stuffs dots wrongly
/// nor a mailbox file can change the text.
public enum QuotedPrintable {
    /// Appends the text as it stands at the start of a line.
    public static func append(_ text: String, to output: inout [UInt8]) {
        let input = Array(text.utf8)
        output.reserveCapacity(output.count + input.count + input.count / 8 + 64)
        append(input, to: &output)
    }

    /// Appends UTF-8 text as it stands at the start of a line.
    ///
    /// - Parameter continues: more text of the same line is to come. What is appended then ends in a soft line break,
    ///   so that the rest stands at the start of a line as well. The two must not be cut between a CR and its LF, and
    ///   the end is told with `endText`.
    public static func append(_ input: [UInt8], to output: inout [UInt8], continues: Bool = false) {
        var column = 0
        var index = 0
        while index < input.count {
            let octet = input[index]
            if column > 0 || !isRisky(input, at: index) {
                let end = plainEnd(of: input, from: index, room: 75 - column)
                if end > index {
                    output.append(input.span.extracting(index..<end))
                    column += end - index
                    index = end
                    continue
                }
            }
            if octet == 0x0D || octet == 0x0A {
                index += octet == 0x0D && index + 1 < input.count && input[index + 1] == 0x0A ? 2 : 1
                output.append(0x0D)
                output.append(0x0A)
                column = 0
                continue
            }
            let endsText = index + 1 == input.count
            let endsLine = endsText || isLineEnd(input[index + 1])
            var literal = isLiteral(octet, endsLine: endsLine) && (column > 0 || !isRisky(input, at: index))
            if column + (literal ? 1 : 3) > (endsLine && !(endsText && continues) ? 76 : 75) {
                appendSoftBreak(to: &output)
                column = 0
                literal = literal && !isRisky(input, at: index)
            }
            if literal {
                output.append(octet)
                column += 1
            } else {
                output.append(UInt8(ascii: "="))
                output.append(digit(octet >> 4))
                output.append(digit(octet & 15))
                column += 3
            }
            index += 1
        }
        if continues, column > 0 { appendSoftBreak(to: &output) }
    }

    /// Takes back the soft line break of a text that was to continue and has come to its end.
    public static func endText(_ output: inout [UInt8]) {
        if output.suffix(3).elementsEqual([UInt8(ascii: "="), 0x0D, 0x0A]) { output.removeLast(3) }
    }

    /// How far octets go that stand for themselves wherever they are, `room` of them at most. The last one before a
    /// line end is left out, because there a space does not.
    private static func plainEnd(of input: [UInt8], from start: Int, room: Int) -> Int {
        let limit = min(start + room, input.count)
        let octets = unsafe input.span.bytes
        var end = start
        while end + 8 <= limit, arePlain(unsafe octets.unsafeLoadUnaligned(fromByteOffset: end, as: UInt64.self)) {
            end += 8
        }
        while end < limit, input[end] &- 0x20 < 0x5F, input[end] != 0x3D { end += 1 }
        if end > start, end == input.count || isLineEnd(input[end]) { end -= 1 }
        return end
    }

    /// Eight octets at once: none is above 0x7E or below 0x20, and none is `=`.
    private static func arePlain(_ word: UInt64) -> Bool {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let (isLow, isDelete, isEqual) = (word &- ones &* 0x20, word &+ ones, (word ^ ones &* 0x3D) &- ones)
        return (word | isLow | isDelete | isEqual) & ones << 7 == 0
    }

    private static func appendSoftBreak(to output: inout [UInt8]) {
        output.append(UInt8(ascii: "="))
        output.append(0x0D)
        output.append(0x0A)
    }

    private static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x37 + value }

    private static func isLineEnd(_ octet: UInt8) -> Bool { octet == 0x0D || octet == 0x0A }

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
        return input[index] == UInt8(ascii: "F") && index + 4 < input.count && input[index + 1] == UInt8(ascii: "r")
            && input[index + 2] == UInt8(ascii: "o") && input[index + 3] == UInt8(ascii: "m")
            && input[index + 4] == 0x20
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
