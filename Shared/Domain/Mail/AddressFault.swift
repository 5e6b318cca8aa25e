/// Why a text is not an e-mail address we can send to. `reason` is a plain sentence, fit for a report or an upload
/// error.
///
/// Positions count octets from 1, because a Swift character can hide several octets (`@` followed by a combining
/// accent is one character).
public enum AddressFault: Error, Equatable, Sendable {
    case empty
    case tooLong(octets: Int)
    case localPartTooLong(octets: Int)
    case domainTooLong(octets: Int)
    case controlCharacter(position: Int)
    case missingAt
    case emptyLocalPart
    case emptyDomain
    case misplacedDot(position: Int)
    case unexpectedCharacter(Unicode.Scalar, position: Int)
    case unclosedQuote
    case encodedWord
    case addressLiteral
    case emptyLabel(position: Int)
    case labelTooLong(octets: Int, position: Int)
    case labelHyphen(position: Int)
    case domainWithoutDot
    case numericTopLevel
    case unusableDomainCharacter(Unicode.Scalar, position: Int)
    case decomposedCharacter(Unicode.Scalar, position: Int)

    public var reason: String {
        switch self {
        case .empty: "The address is empty."
        case .tooLong(let octets): "The address has \(octets) octets; 254 is the most that can be sent to."
        case .localPartTooLong(let octets): "The part before the @ has \(octets) octets; the limit is 64."
        case .domainTooLong(let octets): "The domain has \(octets) octets; the limit is 255."
        case .controlCharacter(let at): "Octet \(at) is a control character or a line break; remove it."
        case .missingAt: "There is no @ after the mailbox name."
        case .emptyLocalPart: "There is nothing before the @."
        case .emptyDomain: "There is no domain after the @."
        case .misplacedDot(let at):
            "The dot at octet \(at) is first, last or doubled in the part before the @; remove it."
        case .unexpectedCharacter(let scalar, let at):
            "The character \(Self.show(scalar)) at octet \(at) does not belong in an address; give one plain address."
        case .unclosedQuote: "The quoted part before the @ is not closed by a second quote."
        case .encodedWord: "The part before the @ is an encoded word (=?…?=); give the plain address."
        case .addressLiteral: "The domain is an IP address in brackets; a domain name is needed."
        case .emptyLabel(let at): "The domain has an empty part at octet \(at): a dot is doubled, first or last."
        case .labelTooLong(let octets, let at):
            "The part of the domain at octet \(at) has \(octets) octets; the limit is 63."
        case .labelHyphen(let at):
            "The part of the domain at octet \(at) begins or ends with a hyphen or has -- in third place."
        case .domainWithoutDot: "The domain has no dot; a full domain name is needed."
        case .numericTopLevel: "The last part of the domain is a number; a domain name is needed."
        case .unusableDomainCharacter(let scalar, let at):
            "The character \(Self.show(scalar)) at octet \(at) cannot be part of a domain name."
        case .decomposedCharacter(let scalar, let at):
            "The accent \(Self.show(scalar)) at octet \(at) stands apart from its letter; use the composed letter."
        }
    }

    private static func show(_ scalar: Unicode.Scalar) -> String {
        let code = "U+" + Hexadecimal.padded(scalar.value, width: 4)
        return scalar.isASCII && scalar.value > 0x20 && scalar.value < 0x7F ? "\(scalar) (\(code))" : code
    }
}

enum Hexadecimal {
    static let digits: [UInt8] = Array("0123456789ABCDEF".utf8)

    static func padded(_ value: UInt32, width: Int) -> String {
        let digits = String(value, radix: 16, uppercase: true)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}
