import Mail
import Testing

@Suite struct `An attachment` {
    private static func message(_ attachments: [MIMEAttachment]) throws -> String {
        var message = MIMEMessage(
            from: Mailbox(address: try EmailAddress(parsing: "a@x.example")),
            to: Mailbox(address: try EmailAddress(parsing: "b@x.example")), subject: "s", date: 0,
            messageID: "m@x.example",
            text: "text", html: "<p>html</p>", boundary: "b")
        message.attachments = attachments
        return String(decoding: try message.encoded(), as: UTF8.self)
    }

    @Test func `follows the bodies in a mixed message, in lines of base64`() throws {
        let content = (0..<300).map { UInt8(truncatingIfNeeded: $0) }
        let text = try Self.message([
            try MIMEAttachment(name: "a.bin", mediaType: "application/octet-stream", content: content)
        ])
        #expect(text.contains("Content-Type: multipart/mixed; boundary=\"=_mixed.b\"\r\n"))
        let parts = text.split(separator: "--=_mixed.b").map(String.init)
        #expect(parts.count == 4)
        #expect(parts[1].contains("multipart/alternative"))
        #expect(parts[3] == "--\r\n")
        let lines = parts[2].split(separator: "\r\n", omittingEmptySubsequences: true).dropFirst(4)
        #expect(lines.allSatisfy { $0.utf8.count <= 76 })
        #expect(lines.joined().hasPrefix("AAECAwQFBgcICQoL"))
    }

    @Test func `keeps a name that is not plain, by RFC 2231`() throws {
        let name = "Übersicht \"1\".pdf"
        let text = try Self.message([try MIMEAttachment(name: name, mediaType: "application/pdf", content: [1])])
        #expect(text.contains("filename*=UTF-8''%C3%9Cbersicht%20%221%22.pdf\r\n"))
    }

    @Test(arguments: [
        ("", "a/b"), ("a/b", "a/b"), ("a\\b", "a/b"), (".x", "a/b"), ("x\r\nBcc: y", "a/b"),
        (String(repeating: "n", count: 201), "a/b"), ("x", "pdf"), ("x", "a/b; c=d"), ("x", "multipart/mixed"),
        ("x", "Message/rfc822"), ("x", "a/b/c"), ("x", "/b"),
    ]) func `that could change the message is refused`(name: String, type: String) {
        #expect(throws: MIMEFault.self) { try MIMEAttachment(name: name, mediaType: type, content: [1]) }
    }
}
