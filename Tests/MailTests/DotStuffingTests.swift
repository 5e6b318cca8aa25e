import Testing

@testable import Mail

@Suite struct DotStuffingTests {
    /// What a receiver reads that ends the message only at CR LF . CR LF, and what is left over after that.
    private func received(_ octets: [UInt8]) -> (message: [UInt8], rest: [UInt8])? {
        let end: [UInt8] = [13, 10, 46, 13, 10]
        let stream: [UInt8] = [13, 10] + octets
        guard let at = stream.indices.first(where: { stream[$0...].starts(with: end) }) else { return nil }
        let body = Array(stream[..<(at + 2)])
        var message: [UInt8] = []
        for (index, octet) in body.enumerated().dropFirst(2) {
            if octet == 46, body[index - 1] == 10 { continue }
            message.append(octet)
        }
        return (message, Array(stream[(at + 5)...]))
    }

    @Test(arguments: [
        "a\n.\nb", "a\r.\rb", "a\n.\r\nb", "a\r\n.\rb", "a\r\n.\nb", "a\r\n.\r\nMAIL FROM:<x@y.example>\r\n",
        ".", "..", ".\r\n",
        "\r\n.\r\n", "\n.\n", "a\r\r\n.\r\r\nb", "a\n\r.\n\rb", "a\r\n..\r\n", "", "\r", "\n", "a",
        "." + String(repeating: "x", count: 1_200) + "\r\n.",
    ]) func `S02: one message goes in and one message comes out`(_ text: String) throws {
        let sent = DotStuffing.octets(of: Array(text.utf8)) + DotStuffing.terminator
        let seen = try #require(received(Array(sent)))
        #expect(seen.rest.isEmpty)
        var canonical: [UInt8] = []
        let source = Array(text.utf8)
        for (index, octet) in source.enumerated() {
            if octet == 10, index > 0, source[index - 1] == 13 { continue }
            canonical += octet == 10 || octet == 13 ? [13, 10] : [octet]
        }
        if !canonical.suffix(2).elementsEqual([13, 10]) { canonical += [13, 10] }
        #expect(seen.message == canonical)
    }

    @Test func `no lone line-end octet and no terminator remain in any short text`() {
        let letters: [UInt8] = [13, 10, 46, 97]
        for number in 0..<(1 << 14) {
            let message = (0..<7).map { letters[number >> (2 * $0) & 3] }
            let sent = Array(DotStuffing.octets(of: message))
            let framed = [13, 10] + sent + DotStuffing.terminator
            for index in framed.indices {
                if framed[index] == 10 { #expect(index > 0 && framed[index - 1] == 13) }
                if framed[index] == 13 { #expect(index + 1 < framed.count && framed[index + 1] == 10) }
            }
            #expect(received(sent + DotStuffing.terminator)?.rest == [])
        }
    }

    @Test func `a look at many octets at once finds what octet by octet does, wherever it stands`() {
        let line = Array(
            ("abcdefg.hijklmno\r\npq.r\r\nstuvwxyz0123456789\r\n" + String(repeating: "x", count: 90) + "\r\n").utf8)
        let spoilers: [[UInt8]] = [
            [], [13], [10], [13, 10], [13, 10, 46], [10, 46], [46], [13, 13, 10], [13, 10, 10], [0xC3],
        ]
        for spoiler in spoilers {
            for place in 0...line.count {
                let text = Array(line[..<place]) + spoiler + Array(line[place...])
                for end in max(0, text.count - 3)...text.count {
                    let message = Array(text[..<end])
                    #expect(DotStuffing.octets(of: message) == DotStuffing.stuffed(message)[...], "\(message)")
                }
            }
        }
    }
}
