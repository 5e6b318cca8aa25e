/// Where a text breaks the rule for header values, and what stands there.
public struct HeaderFault: Error, Equatable, Sendable {
    /// Octet position, counted from 1.
    public let position: Int
    public let scalar: Unicode.Scalar

    public var reason: String {
        let name =
            switch scalar.value {
            case 0x0A: "a line feed"
            case 0x0D: "a carriage return"
            case 0x00: "a NUL"
            case 0x09: "a tab"
            case 0x2028, 0x2029, 0x85: "a Unicode line break"
            default: "the control character U+" + Hexadecimal.padded(scalar.value, width: 4)
            }
        return "Octet \(position) is \(name); a header value is one line without control characters."
    }
}

/// The first octet that must not stand in a header value or an SMTP argument, or nil.
///
/// This is the one check against header injection: every ASCII control character (CR, LF, NUL, tab, DEL, …, alone or
/// in pairs), the C1 controls with U+0085, U+2028 and U+2029. It looks at octets, because CR LF is one Swift
/// `Character` that character searches for either half do not find. Offending input is reported, never repaired.
public func headerFault(in text: String) -> HeaderFault? {
    text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F } ? nil : headerFault(in: Array(text.utf8))
}

func headerFault(in octets: [UInt8]) -> HeaderFault? {
    for index in octets.indices {
        let octet = octets[index]
        if octet < 0x20 || octet == 0x7F { return HeaderFault(position: index + 1, scalar: Unicode.Scalar(octet)) }
        if octet == 0xC2, index + 1 < octets.count, octets[index + 1] < 0xA0 {
            return HeaderFault(position: index + 1, scalar: Unicode.Scalar(octets[index + 1]))
        }
        if octet == 0xE2, index + 2 < octets.count, octets[index + 1] == 0x80,
            octets[index + 2] == 0xA8 || octets[index + 2] == 0xA9
        {
            let scalar: Unicode.Scalar = octets[index + 2] == 0xA8 ? "\u{2028}" : "\u{2029}"
            return HeaderFault(position: index + 1, scalar: scalar)
        }
    }
    return nil
}
