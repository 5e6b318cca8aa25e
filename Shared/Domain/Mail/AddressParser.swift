/// The grammar behind `EmailAddress`, over octets.
struct AddressParser {
    private(set) var localPart: [UInt8] = []
    /// The local part with quotes and backslashes resolved where the quoting was not needed.
    private(set) var keyLocalPart: [UInt8] = []
    private(set) var domain: [UInt8] = []

    private let octets: [UInt8]
    private var position = 0

    init(_ text: String) {
        octets = Array(text.utf8)
    }

    mutating func parse() throws(AddressFault) {
        guard !octets.isEmpty else { throw .empty }
        guard octets.count <= 1_024 else { throw .tooLong(octets: octets.count) }
        if let control = octets.firstIndex(where: { $0 < 0x20 || $0 == 0x7F }) {
            throw .controlCharacter(position: control + 1)
        }
        if octets[0] == UInt8(ascii: "\"") { try parseQuotedLocalPart() } else { try parseDotString() }
        try checkScalars(of: localPart)
        guard localPart.count <= 64 else { throw .localPartTooLong(octets: localPart.count) }
        position += 1
        try parseDomain()
        let total = localPart.count + 1 + domain.count
        guard total <= 254 else { throw .tooLong(octets: total) }
    }

    private mutating func parseDotString() throws(AddressFault) {
        var atomIsEmpty = true
        while position < octets.count, octets[position] != UInt8(ascii: "@") {
            let octet = octets[position]
            if octet == UInt8(ascii: ".") {
                guard !atomIsEmpty else { throw .misplacedDot(position: position + 1) }
                atomIsEmpty = true
            } else {
                guard ASCII.isAtomText(octet) || octet >= 0x80 else { throw unexpected(at: position) }
                atomIsEmpty = false
            }
            position += 1
        }
        guard position < octets.count else { throw .missingAt }
        guard position > 0 else { throw .emptyLocalPart }
        guard !atomIsEmpty else { throw .misplacedDot(position: position) }
        localPart = Array(octets[..<position])
        keyLocalPart = localPart
        if localPart.starts(with: Array("=?".utf8)), localPart.suffix(2).elementsEqual(Array("?=".utf8)) {
            throw .encodedWord
        }
    }

    private mutating func parseQuotedLocalPart() throws(AddressFault) {
        var content: [UInt8] = []
        position = 1
        while position < octets.count, octets[position] != UInt8(ascii: "\"") {
            if octets[position] == UInt8(ascii: "\\") {
                position += 1
                guard position < octets.count else { throw .unclosedQuote }
                guard octets[position] < 0x80 else { throw unexpected(at: position) }
            }
            content.append(octets[position])
            position += 1
        }
        guard position < octets.count else { throw .unclosedQuote }
        position += 1
        guard position < octets.count else { throw .missingAt }
        guard octets[position] == UInt8(ascii: "@") else { throw unexpected(at: position) }
        guard !content.isEmpty else { throw .emptyLocalPart }
        localPart = Array(octets[..<position])
        keyLocalPart = Self.isDotString(content) ? content : Self.quoted(content)
    }

    private static func isDotString(_ content: [UInt8]) -> Bool {
        content.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { atom in
            !atom.isEmpty && atom.allSatisfy { ASCII.isAtomText($0) || $0 >= 0x80 }
        }
    }

    private static func quoted(_ content: [UInt8]) -> [UInt8] {
        var result: [UInt8] = [UInt8(ascii: "\"")]
        for octet in content {
            if octet == UInt8(ascii: "\"") || octet == UInt8(ascii: "\\") { result.append(UInt8(ascii: "\\")) }
            result.append(octet)
        }
        result.append(UInt8(ascii: "\""))
        return result
    }

    /// Refuses what nobody can see or type in the non-ASCII part of a mailbox name.
    private func checkScalars(of part: [UInt8]) throws(AddressFault) {
        guard part.contains(where: { $0 >= 0x80 }) else { return }
        var offset = 0
        for scalar in String(decoding: part, as: UTF8.self).unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control, .lineSeparator, .paragraphSeparator: throw .controlCharacter(position: offset + 1)
            case .format, .surrogate, .privateUse, .unassigned:
                throw .unexpectedCharacter(scalar, position: offset + 1)
            case .spaceSeparator where !scalar.isASCII: throw .unexpectedCharacter(scalar, position: offset + 1)
            default: if scalar == "\u{FFFD}" { throw .unexpectedCharacter(scalar, position: offset + 1) }
            }
            offset += UTF8.width(scalar)
        }
    }

    private mutating func parseDomain() throws(AddressFault) {
        guard position < octets.count else { throw .emptyDomain }
        guard octets[position] != UInt8(ascii: "[") else { throw .addressLiteral }
        domain.reserveCapacity(octets.count - position)
        var labels = 0
        var lastIsNumber = false
        var start = position
        for end in position...octets.count where end == octets.count || octets[end] == UInt8(ascii: ".") {
            guard end > start else { throw .emptyLabel(position: start + 1) }
            let label = try asciiLabel(octets[start..<end])
            if labels > 0 { domain.append(UInt8(ascii: ".")) }
            domain += label
            labels += 1
            lastIsNumber = label.allSatisfy(ASCII.isDigit)
            start = end + 1
        }
        guard domain.count <= 255 else { throw .domainTooLong(octets: domain.count) }
        guard labels > 1 else { throw .domainWithoutDot }
        guard !lastIsNumber else { throw .numericTopLevel }
    }

    private func asciiLabel(_ label: ArraySlice<UInt8>) throws(AddressFault) -> [UInt8] {
        let hyphen = UInt8(ascii: "-")
        var result = Array(label)
        if let first = label.firstIndex(where: { $0 >= 0x80 }) {
            let scalars = try DomainLabel.lowered(label)
            guard scalars.count < 4 || scalars[2] != "-" || scalars[3] != "-" else {
                throw .labelHyphen(position: label.startIndex + 1)
            }
            guard let encoded = Punycode.encode(scalars) else {
                throw .unexpectedCharacter(DomainLabel.scalar(in: octets, at: first), position: first + 1)
            }
            result = Array("xn--".utf8) + encoded
        }
        if let bad = result.firstIndex(where: { !ASCII.isLetterOrDigit($0) && $0 != hyphen }) {
            throw unexpected(at: label.startIndex + bad)
        }
        guard label.first != hyphen, label.last != hyphen else { throw .labelHyphen(position: label.startIndex + 1) }
        guard result.count <= 63 else { throw .labelTooLong(octets: result.count, position: label.startIndex + 1) }
        return result
    }

    private func unexpected(at index: Int) -> AddressFault {
        .unexpectedCharacter(DomainLabel.scalar(in: octets, at: index), position: index + 1)
    }
}

enum DomainLabel {
    static func scalar(in octets: [UInt8], at index: Int) -> Unicode.Scalar {
        String(decoding: octets[index...].prefix(4), as: UTF8.self).unicodeScalars.first ?? "\u{FFFD}"
    }

    /// Lower-cases a label that has non-ASCII letters and refuses what RFC 5892 refuses, as far as the standard
    /// library's tables tell.
    static func lowered(_ label: ArraySlice<UInt8>) throws(AddressFault) -> [Unicode.Scalar] {
        var result: [Unicode.Scalar] = []
        var position = label.startIndex + 1
        for scalar in String(decoding: label, as: UTF8.self).unicodeScalars {
            if scalar.isASCII {
                let octet = ASCII.lowered(UInt8(scalar.value))
                guard ASCII.isLetterOrDigit(octet) || scalar == "-" else {
                    throw .unexpectedCharacter(scalar, position: position)
                }
                result.append(Unicode.Scalar(octet))
            } else {
                // The Kelvin sign lowers to `k`: such look-alikes of ASCII are refused.
                let mapped = scalar.properties.lowercaseMapping.unicodeScalars
                for low in mapped {
                    guard !(0x0300...0x036F).contains(low.value) else {
                        throw .decomposedCharacter(scalar, position: position)
                    }
                    guard !low.isASCII, isUsable(low), !(result.isEmpty && isMark(low)) else {
                        throw .unusableDomainCharacter(scalar, position: position)
                    }
                    result.append(low)
                }
            }
            position += UTF8.width(scalar)
        }
        return result
    }

    private static func isMark(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .spacingMark: true
        default: false
        }
    }

    private static func isUsable(_ scalar: Unicode.Scalar) -> Bool {
        let properties = scalar.properties
        guard !properties.isDefaultIgnorableCodePoint else { return false }
        guard !properties.changesWhenNFKCCaseFolded || scalar == "ß" || scalar == "ς" else { return false }
        return switch properties.generalCategory {
        case .lowercaseLetter, .otherLetter, .modifierLetter, .nonspacingMark, .spacingMark, .decimalNumber: true
        default: false
        }
    }
}
