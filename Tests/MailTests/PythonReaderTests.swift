import Foundation
import Mail
import TestKit
import Testing

@Suite("MIME as Python's email reads it")
struct PythonReaderTests {
    private struct Case: Encodable {
        let raw: Data
        let from: [String]
        let to: [String]
        var replyTo: [String]?
        let subject: String
        let messageID: String
        let date: Int64
        let text: String?
        let html: String?
        /// Name, type and content of each, the content in base64.
        var files: [[String]] = []
    }

    private struct File {
        let name: String
        let type: String
        let content: [UInt8]
    }

    private static let contents: [[UInt8]] = [
        [], [0], Array("line\r\n.\r\n".utf8), (0..<300).map { UInt8(truncatingIfNeeded: $0) },
    ]

    private static let pieces = [
        "Schule", "Überraschung", "学校からのお知らせ", "👩‍👩‍👧", "\"", "\\", ",", ";", "<b>", "=3D", "=?utf-8?q?x?=", "?=",
        "(note)", "[1]", "a@b.example", "'", ".", "..", "From ", "é", "e\u{301}", "עברית", "x", "   ", " ", "-", "_",
        "%", "&",
        String(repeating: "w", count: 90), String(repeating: "ß", count: 60), "Sehr geehrte Eltern",
    ]
    private static let breaks = ["\n", "\r\n", "\n.\n", "\n..", "\nFrom x", " \n", "\t\n", "\n\n", "--=_b1\n", "="]

    private static func text(_ generator: inout SeededGenerator, _ pieces: [String], upTo most: Int) -> String {
        (0..<Int.random(in: 1...most, using: &generator)).map { _ in
            pieces[Int.random(in: 0..<pieces.count, using: &generator)]
        }.joined(separator: Bool.random(using: &generator) ? " " : "")
    }

    private func random(_ seed: UInt64) throws -> Case {
        var generator = SeededGenerator(seed: seed)
        let subject = Self.text(&generator, Self.pieces, upTo: 30)
        let name = Self.text(&generator, Self.pieces, upTo: 8)
        let bodies = Self.pieces + Self.breaks
        let kind = Int.random(in: 0..<3, using: &generator)
        let address = ["jane@home.example", "jane@häuser.example", "\"a b\"@x.example", "o'neil+x@例え.example"]
            .randomElement(using: &generator)
        let files = (0..<max(0, Int.random(in: -3...2, using: &generator))).map { _ in
            File(
                name: ["a.pdf", "Übersicht \"1\".pdf", "x y.txt", String(repeating: "é", count: 90)]
                    .randomElement(using: &generator) ?? "",
                type: ["application/pdf", "text/plain"].randomElement(using: &generator) ?? "",
                content: Self.contents.randomElement(using: &generator) ?? [])
        }
        return try make(
            name: name, address: address ?? "", subject: subject,
            text: kind == 2 ? nil : Self.text(&generator, bodies, upTo: 120),
            html: kind == 1 ? nil : Self.text(&generator, bodies, upTo: 120), files: files,
            encode: seed.isMultiple(of: 2) ? { .text($0) } : Self.encodedInParts)
    }

    /// Cut behind every seventh scalar that a line end does not follow.
    private static func encodedInParts(_ text: String) -> MIMEBody {
        var encoded: [UInt8] = []
        var part: [UInt8] = []
        for (index, scalar) in text.unicodeScalars.enumerated() {
            if index.isMultiple(of: 7), scalar != "\n" {
                QuotedPrintable.append(part, to: &encoded, continues: true)
                part = []
            }
            part += Array(String(scalar).utf8)
        }
        QuotedPrintable.append(part, to: &encoded, continues: true)
        QuotedPrintable.endText(&encoded)
        return .encoded(about: encoded.count) { [encoded] in $0 += encoded }
    }

    private func make(
        name: String, address: String, subject: String, text: String?, html: String?, files: [File] = [],
        encode: (String) -> MIMEBody = { .text($0) }
    ) throws -> Case {
        let to = try EmailAddress(parsing: address)
        let from = try EmailAddress(parsing: "office@lincoln.example")
        var message = MIMEMessage(
            from: Mailbox(name: name, address: from), to: Mailbox(name: name, address: to), subject: subject,
            date: 1_795_287_600, messageID: "b1.7@lincoln.example", text: text.map(encode), html: html.map(encode),
            boundary: "b1")
        message.replyTo = Mailbox(address: from)
        message.unsubscribeURLs = ["https://lincoln.example/u/\(String(repeating: "a", count: 200))"]
        message.oneClickUnsubscribe = true
        message.attachments = try files.map {
            try MIMEAttachment(name: $0.name, mediaType: $0.type, content: $0.content)
        }
        return Case(
            raw: Data(try message.encoded()), from: [name, from.wireForm], to: [name, to.wireForm],
            replyTo: ["", from.wireForm], subject: subject, messageID: "<b1.7@lincoln.example>", date: 1_795_287_600,
            text: text.map(Self.unixLines), html: html.map(Self.unixLines),
            files: files.map { [$0.name, $0.type, Data($0.content).base64EncodedString()] })
    }

    /// As Python shows them; a lone CR is a line end too.
    private static func unixLines(_ text: String) -> String {
        String(decoding: text.utf8, as: UTF8.self).replacing("\r\n", with: "\n").replacing("\r", with: "\n")
    }

    private func read(_ cases: [Case]) async throws -> String {
        let encoder = JSONEncoder()
        var lines = Data()
        for one in cases { lines += try encoder.encode(one) + [0x0A] }
        let file = FileManager.default.temporaryDirectory.appending(path: "rollcall-mail-\(UUID().uuidString).ndjson")
        try lines.write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let reader = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "reader.py")
        return try await Command.run(ProjectFolder.python, [reader.path, file.path]).output
    }

    @Test func `every kind of message reads as it was meant: names, subjects, alternatives, long lines, IDN, UTF-8`()
        async throws
    {
        var cases = try (0..<400).map { try random(UInt64($0)) }
        for (text, html) in [("Hello", nil), (nil, "<p>Hello</p>"), ("Hello\n", "<p>é</p>\n"), ("", "")] {
            for address in ["josé@home.example", "parent@home.example"] {
                cases.append(
                    try make(name: "Lincoln", address: address, subject: "Snow day", text: text, html: html))
            }
        }
        let output = try await read(cases)
        #expect(output == "\(cases.count) messages read\n", "\(output)")
    }

    @Test func `the reader finds what is wrong`() async throws {
        let good = try make(name: "A", address: "a@b.example", subject: "x", text: "y", html: nil)
        let bad = Case(
            raw: good.raw, from: good.from, to: ["A", "other@b.example"], subject: "z", messageID: good.messageID,
            date: good.date, text: "yy", html: nil)
        let output = try await read([bad])
        for name in ["to", "subject", "text"] { #expect(output.contains("message 1: \(name): "), "\(output)") }
    }
}
