import Mail

/// The rule for every text of a list: UTF-8, one line, no control characters.
///
/// A list's values reach headers (names, subjects with merge fields), so the rule against header injection holds for
/// all of them; nothing is repaired.
enum CellText {
    /// The text of a cell without surrounding spaces and tabs.
    static func read(_ octets: ArraySlice<UInt8>, line: Int) throws(ListFault) -> String {
        let trimmed = trim(octets)
        var isPlain = true
        for octet in trimmed where octet < 0x20 || octet > 0x7E { isPlain = false }
        if isPlain { return String(decoding: trimmed, as: UTF8.self) }
        guard let text = String(validating: trimmed, as: UTF8.self) else {
            throw ListFault(
                .encoding, line: line, octet: firstInvalid(in: octets),
                reason: "the octet is not valid UTF-8; save the list as CSV in UTF-8")
        }
        try check(text, line: line, offset: trimmed.startIndex - octets.startIndex)
        return text
    }

    /// Refuses control characters and line breaks.
    static func check(_ text: String, line: Int, offset: Int = 0) throws(ListFault) {
        guard let fault = headerFault(in: text) else { return }
        throw ListFault(.controlCharacter, line: line, octet: fault.position + offset, reason: fault.reason)
    }

    static func trim(_ octets: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var trimmed = octets
        while let first = trimmed.first, first == 0x20 || first == 0x09 { trimmed.removeFirst() }
        while let last = trimmed.last, last == 0x20 || last == 0x09 { trimmed.removeLast() }
        return trimmed
    }

    /// The place of the first octet, from 1, that no valid sequence contains.
    static func firstInvalid(in octets: ArraySlice<UInt8>) -> Int {
        var low = 0
        var rest = octets
        while let first = rest.first {
            let length =
                switch first {
                case 0..<0x80: 1
                case 0xC2...0xDF: 2
                case 0xE0...0xEF: 3
                case 0xF0...0xF4: 4
                default: 0
                }
            guard length > 0, rest.count >= length,
                String(validating: rest.prefix(length), as: UTF8.self) != nil
            else { break }
            rest = rest.dropFirst(length)
            low += length
        }
        return low + 1
    }
}
