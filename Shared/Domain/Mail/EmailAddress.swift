/// One address a message can be sent to, parsed once; what is shown, compared and put on the wire comes from this
/// value.
///
/// The grammar is RFC 5321's Mailbox (dot-string or quoted local part) with RFC 6531's octets in the local part and
/// international domains. Comments, routes, groups, display names and address literals are refused: readers disagree on
/// them, so they are how one address is made to look like another. A domain needs a dot, since RFC 5321 §2.3.5 wants
/// fully qualified names and `jane@gmail` is a typing error.
///
/// A domain with non-ASCII letters is lower-cased letter by letter and converted to its A-label (RFC 3492).
/// Limits: there is no normalisation here, so Latin accents written apart from their letter are refused rather than
/// composed, and letters of different scripts may be mixed (they give a different A-label, hence a different address).
public struct EmailAddress: Sendable {
    /// The octets for `MAIL`, `RCPT` and address headers: the local part as given, the domain as A-labels.
    public let wireForm: String
    /// What blacklists and duplicate checks compare: content of the local part with ASCII letters lowered, `@`, the
    /// domain in lower-case A-labels. `"jane"@X.example` and `Jane@x.example` have the same key. Compare its octets
    /// (`utf8`): `String ==` also equates texts whose octets differ.
    public let matchingKey: String
    /// The domain in lower-case A-labels.
    public let domain: String
    /// True when the local part has octets above 127, so that the server has to offer SMTPUTF8.
    public let needsSMTPUTF8: Bool

    public init(parsing text: String) throws(AddressFault) {
        var parser = AddressParser(text)
        try parser.parse()
        let local = parser.localPart
        let domain = String(decoding: parser.domain, as: UTF8.self)
        wireForm = String(decoding: local, as: UTF8.self) + "@" + domain
        self.domain = String(decoding: parser.domain.map(ASCII.lowered), as: UTF8.self)
        matchingKey = String(decoding: parser.keyLocalPart.map(ASCII.lowered), as: UTF8.self) + "@" + self.domain
        needsSMTPUTF8 = local.contains { $0 >= 0x80 }
    }
}

extension EmailAddress: Hashable, CustomStringConvertible {
    /// Equal means: the same octets in `matchingKey`.
    public static func == (left: EmailAddress, right: EmailAddress) -> Bool {
        left.matchingKey.utf8.elementsEqual(right.matchingKey.utf8)
    }

    public func hash(into hasher: inout Hasher) {
        for octet in matchingKey.utf8 { hasher.combine(octet) }
    }

    public var description: String { wireForm }
}

enum ASCII {
    static func lowered(_ octet: UInt8) -> UInt8 { octet >= 0x41 && octet <= 0x5A ? octet + 0x20 : octet }

    static func isDigit(_ octet: UInt8) -> Bool { octet >= 0x30 && octet <= 0x39 }

    static func isLetterOrDigit(_ octet: UInt8) -> Bool {
        isDigit(octet) || (lowered(octet) >= 0x61 && lowered(octet) <= 0x7A)
    }

    /// RFC 5322 atext.
    static func isAtomText(_ octet: UInt8) -> Bool {
        if isLetterOrDigit(octet) { return true }
        return switch octet {
        case 0x21, 0x23...0x27, 0x2A, 0x2B, 0x2D, 0x2F, 0x3D, 0x3F, 0x5E...0x60, 0x7B...0x7E: true
        default: false
        }
    }
}
