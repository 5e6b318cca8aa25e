/// The transparency rule of RFC 5321 §4.5.2, with line ends made canonical so that no receiver can see a second
/// message in the text (SMTP smuggling): every lone CR and lone LF becomes CR LF, then every line that begins with a
/// dot gets a second one.
public enum DotStuffing {
    /// CR LF . CR LF: the point of no return.
    public static let terminator: [UInt8] = [0x0D, 0x0A, 0x2E, 0x0D, 0x0A]

    /// The text as it stands between `DATA` and the terminator, without its last line end, which the terminator's
    /// first two octets supply. It can never contain the terminator. A text that needs no change is not copied.
    public static func octets(of message: [UInt8]) -> ArraySlice<UInt8> {
        guard needsNoChange(message) else { return stuffed(message)[...] }
        return message.last == 0x0A ? message.dropLast(2) : message[...]
    }

    /// Every CR and LF stands in a pair, and no line begins with a dot. There is no branch for an octet, so that the
    /// compiler can have many looked at at once.
    private static func needsNoChange(_ message: [UInt8]) -> Bool {
        guard message.first != 0x0A, message.first != 0x2E, message.last != 0x0D else { return false }
        var faults: UInt8 = 0
        for index in message.indices.dropLast() {
            let (octet, next) = (message[index], message[index &+ 1])
            faults |= ((octet == 0x0D) != (next == 0x0A) ? 1 : 0) | (octet == 0x0A && next == 0x2E ? 1 : 0)
        }
        return faults == 0
    }

    /// The same, octet by octet: the rule itself.
    static func stuffed(_ message: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(message.count + message.count / 64 + 16)
        var atLineStart = true
        var index = 0
        while index < message.count {
            let octet = message[index]
            index += 1
            if octet == 0x0D || octet == 0x0A {
                if octet == 0x0D, index < message.count, message[index] == 0x0A { index += 1 }
                result.append(0x0D)
                result.append(0x0A)
                atLineStart = true
            } else {
                if atLineStart, octet == 0x2E { result.append(0x2E) }
                result.append(octet)
                atLineStart = false
            }
        }
        if atLineStart, !result.isEmpty { result.removeLast(2) }
        return result
    }
}
