/// Writes header fields as octets: folded at 78 where there is a place to fold, never beyond 998.
struct HeaderWriter {
    private(set) var octets: [UInt8] = []
    private var column = 0
    private var isFirst = true

    private static let foldAt = 78
    /// Longest run of octets that may stand unfolded; 998 less room for the longest header name.
    static let longestToken = 900

    /// A value without inner structure: plain when it is plain ASCII, else encoded words. A text that already looks
    /// like an encoded word is encoded again, so that it reads as itself and nothing hides in it.
    mutating func unstructured(_ name: String, _ value: String) {
        begin(name)
        let text = Array(value.utf8)
        if Self.needsEncoding(text) || text.count > Self.longestToken && Self.hasLongToken(text) {
            appendEncodedWords(text)
        } else {
            appendTokens(of: text)
        }
        end()
    }

    mutating func mailbox(_ name: String, _ mailbox: Mailbox) {
        begin(name)
        if let display = mailbox.name, !display.isEmpty {
            appendPhrase(Array(display.utf8))
            append("<", mailbox.address.wireForm, ">")
        } else {
            append("", mailbox.address.wireForm, "")
        }
        end()
    }

    /// A value of tokens that are known to be plain, between which folding is allowed.
    mutating func field(_ name: String, tokens: (inout HeaderWriter) -> Void) {
        begin(name)
        tokens(&self)
        end()
    }

    mutating func multipart(_ subtype: String, boundary: String) {
        field("Content-Type") {
            $0.append("multipart/", subtype, ";")
            $0.append("boundary=\"", boundary, "\"")
        }
    }

    /// A token of a field, in one piece.
    mutating func append(_ opening: String, _ text: String, _ closing: String) {
        beginToken(octets: opening.utf8.count + text.utf8.count + closing.utf8.count)
        octets += opening.utf8
        octets += text.utf8
        octets += closing.utf8
    }

    /// Room for so many octets, so that a body can be appended without moving anything.
    mutating func reserve(_ capacity: Int) { octets.reserveCapacity(capacity) }

    /// Takes what has been written.
    mutating func take() -> [UInt8] {
        let written = octets
        octets = []
        return written
    }

    mutating func finish() -> [UInt8] {
        end()
        return take()
    }

    private mutating func begin(_ name: String) {
        octets += name.utf8
        octets.append(UInt8(ascii: ":"))
        column = name.utf8.count + 1
        isFirst = true
    }

    private mutating func end() {
        octets.append(0x0D)
        octets.append(0x0A)
    }

    private mutating func append(_ token: ArraySlice<UInt8>) {
        beginToken(octets: token.count)
        octets += token
    }

    private mutating func beginToken(octets count: Int) {
        if column + 1 + count > Self.foldAt, !isFirst {
            end()
            column = 0
        }
        isFirst = false
        octets.append(0x20)
        column += 1 + count
    }

    /// Pieces separated by single spaces; further spaces stay with the piece after them.
    private mutating func appendTokens(of text: [UInt8]) {
        if !text.isEmpty, column + 1 + text.count <= Self.foldAt { return append(text[...]) }
        var start = 0
        while start < text.count {
            let end = Self.endOfToken(in: text, from: start)
            append(text[start..<end])
            start = end + 1
        }
    }

    private mutating func appendPhrase(_ text: [UInt8]) {
        if Self.needsEncoding(text) || text.count > 60 {
            appendEncodedWords(text)
        } else if text.allSatisfy({ ASCII.isAtomText($0) || $0 == 0x20 }), !Self.hasSpaces(text) {
            appendTokens(of: text)
        } else {
            var quoted: [UInt8] = [UInt8(ascii: "\"")]
            for octet in text {
                if octet == UInt8(ascii: "\"") || octet == UInt8(ascii: "\\") { quoted.append(UInt8(ascii: "\\")) }
                quoted.append(octet)
            }
            append((quoted + [UInt8(ascii: "\"")])[...])
        }
    }

    /// RFC 2047 B words of at most 75 octets, cut between scalars.
    private mutating func appendEncodedWords(_ text: [UInt8]) {
        var start = 0
        while start < text.count {
            let room = min(75, Self.foldAt - (isFirst ? column : 0) - 1)
            let most = max(6, (room - 12) / 4 * 3)
            var end = min(start + most, text.count)
            while end < text.count, end > start + 1, text[end] & 0xC0 == 0x80 { end -= 1 }
            append((Array("=?UTF-8?B?".utf8) + Base64.encode(text[start..<end]) + Array("?=".utf8))[...])
            start = end
        }
    }

    /// Spaces in a row, which readers make one outside of quotes.
    private static func hasSpaces(_ text: [UInt8]) -> Bool {
        text.indices.contains { $0 > 0 && text[$0] == 0x20 && text[$0 - 1] == 0x20 }
    }

    private static func needsEncoding(_ text: [UInt8]) -> Bool {
        if text.first == 0x20 || text.last == 0x20 { return true }
        for index in text.indices {
            if text[index] >= 0x80 { return true }
            if text[index] == UInt8(ascii: "="), index + 1 < text.count, text[index + 1] == UInt8(ascii: "?") {
                return true
            }
        }
        return false
    }

    private static func hasLongToken(_ text: [UInt8]) -> Bool {
        var start = 0
        while start < text.count {
            let end = endOfToken(in: text, from: start)
            if end - start > longestToken { return true }
            start = end + 1
        }
        return false
    }

    private static func endOfToken(in text: [UInt8], from start: Int) -> Int {
        var end = start
        while end < text.count, text[end] == 0x20 { end += 1 }
        while end < text.count, text[end] != 0x20 { end += 1 }
        return end
    }
}
