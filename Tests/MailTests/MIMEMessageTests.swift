import Mail
import Testing

@Suite struct MIMEMessageTests {
    private func message(
        name: String? = "Lincoln School", subject: String = "Snow day", text: String? = "Hello",
        html: String? = "<p>Hello</p>"
    ) throws -> MIMEMessage {
        MIMEMessage(
            from: Mailbox(name: name, address: try EmailAddress(parsing: "office@lincoln.example")),
            to: Mailbox(address: try EmailAddress(parsing: "parent@home.example")), subject: subject,
            date: 1_795_287_600, messageID: "b1.7@lincoln.example", text: text, html: html, boundary: "b1-7")
    }

    @Test func `a message with both bodies is these octets`() throws {
        var message = try message()
        message.unsubscribeURLs = ["https://lincoln.example/u/abc", "mailto:u@lincoln.example"]
        message.oneClickUnsubscribe = true
        message.replyTo = Mailbox(address: try EmailAddress(parsing: "desk@lincoln.example"))
        message.extraHeaders = [("X-Rollcall-Delivery", "0190/7")]
        let expected = """
            From: Lincoln School <office@lincoln.example>
            To: parent@home.example
            Reply-To: desk@lincoln.example
            Subject: Snow day
            Date: Sat, 21 Nov 2026 19:00:00 +0000
            Message-ID: <b1.7@lincoln.example>
            List-Unsubscribe: <https://lincoln.example/u/abc>, <mailto:u@lincoln.example>
            List-Unsubscribe-Post: List-Unsubscribe=One-Click
            X-Rollcall-Delivery: 0190/7
            MIME-Version: 1.0
            Content-Type: multipart/alternative; boundary="=_b1-7"

            --=_b1-7
            Content-Type: text/plain; charset=utf-8
            Content-Transfer-Encoding: quoted-printable

            Hello
            --=_b1-7
            Content-Type: text/html; charset=utf-8
            Content-Transfer-Encoding: quoted-printable

            <p>Hello</p>
            --=_b1-7--

            """
        let lines = expected.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\r\n")
        #expect(String(decoding: try message.encoded(), as: UTF8.self) == lines)
    }

    @Test(arguments: [
        "Überraschung: schulfrei", "例え" + String(repeating: "学校からのお知らせ", count: 12),
        "=?utf-8?q?x=0D=0ABcc:_y?=", String(repeating: "w", count: 2_000), " leading and trailing ",
        "👩‍👩‍👧 " + String(repeating: "é", count: 90), "two  spaces   three",
        String(repeating: "word ", count: 60) + "end",
    ]) func `a subject reads back as it was written and no line is too long`(_ subject: String) throws {
        let octets = try message(name: subject, subject: subject).encoded()
        let headers = ParsedHeaders(octets)
        #expect(Array(headers.decoded("subject").utf8) == Array(subject.utf8))
        #expect(headers.lines.allSatisfy { $0.count <= 78 })
        #expect(headers.lines.allSatisfy { line in line.contains { $0 != 0x20 } })
        #expect(octets.allSatisfy { $0 < 0x80 })
        let from = headers.decoded("from")
        #expect(from.hasSuffix("<office@lincoln.example>"))
        #expect(headers.names.filter { $0 == "bcc" }.isEmpty)
    }

    @Test(arguments: ["O'Neil \"Bo\" <b@evil.example>, x", "a\\b", "Doe, Jane", "x@y.example"])
    func `a display name with specials is quoted`(_ name: String) throws {
        let from = ParsedHeaders(try message(name: name).encoded()).raw("from")
        let quoted = name.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
        #expect(from == "\"\(quoted)\" <office@lincoln.example>")
    }

    @Test(arguments: ["a\r\nBcc: x@y.example", "a\nb", "a\rb", "a\u{2028}b", "a\0b", "a\u{85}b"])
    func `S01: a line break in any field is refused`(_ bad: String) throws {
        let fault = try #require(headerFault(in: bad))
        var extra = try message()
        extra.extraHeaders = [("X-Note", bad)]
        var reply = try message()
        reply.replyTo = Mailbox(name: bad, address: reply.from.address)
        var url = try message()
        url.unsubscribeURLs = ["https://x.example/\(bad)"]
        var id = try message()
        id.messageID = "\(bad)@x.example"
        var name = try message()
        name.extraHeaders = [("X-\(bad)", "v")]
        var boundary = try message()
        boundary.boundary = bad
        #expect(throws: MIMEFault.headerValue(name: "Subject", fault)) { try message(subject: bad).encoded() }
        #expect(throws: MIMEFault.headerValue(name: "From", fault)) { try message(name: bad).encoded() }
        #expect(throws: MIMEFault.headerValue(name: "X-Note", fault)) { try extra.encoded() }
        #expect(throws: MIMEFault.headerValue(name: "Reply-To", fault)) { try reply.encoded() }
        #expect(throws: MIMEFault.unsubscribeURL("https://x.example/\(bad)")) { try url.encoded() }
        #expect(throws: MIMEFault.messageID("\(bad)@x.example")) { try id.encoded() }
        #expect(throws: MIMEFault.headerName("X-\(bad)")) { try name.encoded() }
        #expect(throws: MIMEFault.boundary(bad)) { try boundary.encoded() }
    }

    @Test func `an extra header cannot replace one of the message's own`() throws {
        var message = try message()
        message.extraHeaders = [("BCC", "x@y.example")]
        #expect(throws: MIMEFault.reservedHeader("BCC")) { try message.encoded() }
        #expect(throws: MIMEFault.noBody) { try self.message(text: nil, html: nil).encoded() }
    }

    @Test func `a single body is not multipart`() throws {
        let octets = try message(text: nil).encoded()
        let text = String(decoding: octets, as: UTF8.self)
        #expect(text.hasSuffix("\r\n\r\n<p>Hello</p>\r\n"))
        #expect(ParsedHeaders(octets).raw("content-type") == "text/html; charset=utf-8")
    }
}

@Suite struct QuotedPrintableTests {
    /// Wherever in a line it stands, among octets that stand for themselves.
    @Test(arguments: [0x00, 0x1F, 0x20, 0x09, 0x2E, 0x3C, 0x3D, 0x3E, 0x46, 0x7E, 0x7F, 0x80, 0xFF] as [UInt8])
    func `an octet at any place of a text reads back and leaves every line clean`(_ octet: UInt8) {
        for place in 0...160 {
            for count in [place, place + 1, 161] {
                let text =
                    Array(repeating: UInt8(ascii: "a"), count: place) + [octet]
                    + Array(repeating: UInt8(ascii: "z"), count: count - place)
                var encoded: [UInt8] = []
                QuotedPrintable.append(text, to: &encoded)
                #expect(QuotedPrintable.decode(encoded) == text, "\(place)")
                for line in String(decoding: encoded, as: UTF8.self).split(separator: "\r\n") {
                    #expect(line.utf8.count <= 76 && line.utf8.allSatisfy { (0x20..<0x7F).contains($0) || $0 == 0x09 })
                    #expect(line.utf8.last != 0x20 && line.utf8.last != 0x09, "\(place)")
                }
            }
        }
    }

    static let samples = [
        "", "plain", "trailing space \nnext\t\n", "=3D=", "é" + String(repeating: "ü", count: 200), ".\n..\n.x",
        "From me\nFrom you", String(repeating: "x", count: 75) + ".yz", String(repeating: "x", count: 76),
        String(repeating: "x", count: 77), String(repeating: "x", count: 74) + "=\nz", "a\0b\u{7F}",
        String(repeating: "a ", count: 100), String(repeating: "x", count: 75) + "From here",
    ]

    @Test(arguments: samples) func `text comes back and lines stay within 76`(_ text: String) {
        var encoded: [UInt8] = []
        QuotedPrintable.append(text, to: &encoded)
        let canonical = text.replacing("\n", with: "\r\n")
        #expect(QuotedPrintable.decode(encoded) == Array(canonical.utf8))
        for line in encoded.split(separator: 10, omittingEmptySubsequences: false) {
            let bare = line.last == 13 ? line.dropLast() : line
            #expect(bare.count <= 76)
            #expect(bare.last != 0x20 && bare.last != 0x09)
            #expect(bare.first != UInt8(ascii: "."))
            #expect(!bare.starts(with: Array("From ".utf8)))
            #expect(bare.allSatisfy { ($0 >= 0x20 && $0 < 0x7F) || $0 == 9 })
        }
    }

    @Test(arguments: samples) func `text that is encoded in two parts comes back whole`(_ text: String) {
        let octets = Array(text.utf8)
        for cut in 0...octets.count {
            var encoded: [UInt8] = []
            QuotedPrintable.append(Array(octets[..<cut]), to: &encoded, continues: true)
            let lines = encoded.split(separator: 10, omittingEmptySubsequences: false)
            #expect(lines.last?.isEmpty == true && lines.allSatisfy { $0.count <= 77 })
            QuotedPrintable.append(Array(octets[cut...]), to: &encoded)
            QuotedPrintable.endText(&encoded)
            #expect(QuotedPrintable.decode(encoded) == Array(text.replacing("\n", with: "\r\n").utf8))
            #expect(!encoded.suffix(3).elementsEqual(Array("=\r\n".utf8)))
            for line in encoded.split(separator: 10, omittingEmptySubsequences: false) {
                let bare = line.last == 13 ? line.dropLast() : line
                #expect(bare.count <= 76 && bare.last != 0x20 && bare.last != 0x09 && bare.first != UInt8(ascii: "."))
            }
        }
    }

    @Test func `every kind of line end becomes CR LF`() {
        var encoded: [UInt8] = []
        QuotedPrintable.append("a\rb\nc\r\nd\r\r", to: &encoded)
        #expect(encoded == Array("a\r\nb\r\nc\r\nd\r\n\r\n".utf8))
    }

    @Test func `broken escapes are kept as they are`() {
        #expect(QuotedPrintable.decode(Array("a=ZZb=\r\nc=4".utf8)) == Array("a=ZZbc=4".utf8))
    }
}

@Suite struct MailDateTests {
    @Test(arguments: [
        (Int64(0), "Thu, 01 Jan 1970 00:00:00 +0000"), (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
        (1_795_287_600, "Sat, 21 Nov 2026 19:00:00 +0000"), (-1, "Wed, 31 Dec 1969 23:59:59 +0000"),
        (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 +0000"), (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
        (Int64.max, "Fri, 31 Dec 9999 23:59:59 +0000"), (Int64.min, "Mon, 01 Jan 0001 00:00:00 +0000"),
    ]) func `seconds become a date of RFC 5322`(_ seconds: Int64, _ text: String) {
        #expect(MailDate.string(unixSeconds: seconds) == text)
    }
}
