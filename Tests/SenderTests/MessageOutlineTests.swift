import Delivery
import Foundation
import Mail
import Signing
import TestKit
import Testing

@testable import sender

/// A message made from a prepared outline, held against the one that is made without.
@Suite struct MessageOutlineTests {
    private static let composer = try? MessageComposer(
        publicURL: "https://links.district.example", bounceDomain: "bounce.district.example",
        keys: TokenKeys(["1:" + String(repeating: "5a", count: 32)]))

    private static let markup = [
        "<a href=\"https://x.example/1\">", "<a href='https://x.example/{{id}}'>", "<a href=https://x.example/3>",
        "<a title=\"{{name}}\" href=\"https://x.example/2?a=1&amp;b=2\">", "<a href=\"{{unsubscribe_url}}\">", "</a>",
        "<a href=\"{{id}}\">", "<a {{name}} href=\"https://x.example/1\">", "<a href={{id}}>", "<p>{{name}}</p>",
        "<!-- {{name}} -->", "<!--", "-->", "-", ">", "<", "</", "</bo", "dy>", "</body>", "</BODY>", "<title>",
        "</title>", "</tit", "le>", "<style>a", "</style>", "<img alt=\"{{name}}\">",
        "<a href=\"https://x.example/</body\">", "<a href=\"https://x.example/?q={{name}}&amp;id={{id}}\">",
        "<img src='https://x.example/{{name}}/{{{id}}}#{{id}}'>",
        "<a href=\"https://x.example/?u={{unsubscribe_url}}\">",
    ]
    private static let texts = [
        "{{name}}", "{{{name}}}", "{{id}}", "{{email}}", "{{school}}", "{{number}}", "{{absent}}",
        "{{unsubscribe_url}}",
        "{{respond_url}}", "https://link.rollcall.invalid/", "link.rollcall.invalid/respond_url", "\r\n", "\r", "\n",
        " ",
        "\t", ".", "From me", "=", "&", "é", "x", "Hello ", String(repeating: "long lines of words ", count: 12),
        String(repeating: "é", count: 90), String(repeating: "x", count: 200) + "\r",
        "\n" + String(repeating: "y ", count: 99),
    ]
    private static let values = [
        "", "Ann", "O'Neil \"Bo\" <b>", "<", ">", "\"", "\r", "\nX", "\u{301}b", "--",
        "https://x.example/2?a=1&amp;b=2",
        "https://x.example/1", "1", "https://link.rollcall.invalid/respond_url", "respond_url", "https://", ".",
        "From ",
        "ody", " ", "a\\b/c\"", "tab\t", "\u{1}", "x href=\"https://x.example/1\"", String(repeating: "w", count: 100),
    ]

    private static func template(_ pieces: [String], _ random: inout SeededGenerator) -> String {
        (0..<Int.random(in: 1...9, using: &random)).map { _ in pieces.randomElement(using: &random) ?? "" }.joined()
    }

    private static func document(
        html: String?, text: String?, subject: String = "News for {{name}}", isTracked: Bool = true
    ) throws -> BlastDocument {
        var links: [[UInt8]: Int16] = [:]
        for (index, url) in TrackedLinks.find(inTemplate: html ?? "").enumerated() {
            links[Array(url.utf8)] = Int16(index + 1)
        }
        var document = BlastDocument(
            blast: BlastID(high: 0x0190_1234_5678_7abc, low: 0x8123_4567_89ab_cdef), district: DistrictID(7),
            isEmergency: false, from: Mailbox(address: try EmailAddress(parsing: "office@school.example")),
            replyTo: nil,
            template: .success(try MessageTemplate(subject: subject, html: html, text: text)), links: links)
        document.isTracked = isTracked
        return document
    }

    private static func recipient(_ fields: String, name: String? = nil) -> Recipient {
        Recipient(
            number: 3, address: "family@home.example", addressHash: [], name: name, personReference: "F3",
            school: "Elm",
            fields: fields)
    }

    private static func fields(_ random: inout SeededGenerator) throws -> String {
        var fields: [String: Any] = ["number": [5, "5", true, [1], NSNull()].randomElement(using: &random) ?? ""]
        for name in ["name", "id", "school", "grade"] where Int.random(in: 0..<4, using: &random) > 0 {
            fields[name] = values.randomElement(using: &random)
        }
        if Int.random(in: 0..<3, using: &random) > 0 { fields["number"] = "5" }
        return String(decoding: try JSONSerialization.data(withJSONObject: fields), as: UTF8.self)
    }

    /// Encoded bodies may break their lines elsewhere; the text of them and everything else is the same.
    private static func expectEqual(_ made: Composition, _ expected: Composition, _ about: String) throws {
        #expect(made.contentHash == expected.contentHash, "\(about)")
        switch (made.result, expected.result) {
        case (.success(let made), .success(let expected)):
            #expect("\(made.envelope)".utf8.elementsEqual("\(expected.envelope)".utf8))
            #expect(made.tag == expected.tag && made.from == expected.from)
            #expect(QuotedPrintable.decode(made.octets) == QuotedPrintable.decode(expected.octets), "\(about)")
            expectCanonical(made.octets, about)
        case (.failure(let made), .failure(let expected)): #expect(made == expected)
        default: Issue.record("one was made and the other was not: \(about)")
        }
    }

    private static func expectCanonical(_ octets: [UInt8], _ about: String) {
        var lines = octets.split(separator: 0x0A, omittingEmptySubsequences: false)
        #expect(lines.removeLast().isEmpty, "\(about)")
        #expect(lines.allSatisfy { $0.last == 0x0D && !$0.dropLast().contains(0x0D) }, "\(about)")
        let body = lines.drop { $0.count > 1 }.map { $0.dropLast() }
        for line in body where !line.starts(with: "Content-Transfer-Encoding".utf8) {
            #expect(line.count <= 76 && line.last != 0x20 && line.last != 0x09 && line.first != 0x2E, "\(about)")
            #expect(line.allSatisfy { (0x20..<0x7F).contains($0) || $0 == 0x09 }, "\(about)")
            #expect(!line.starts(with: "From ".utf8), "\(about)")
        }
        for (line, next) in zip(body, body.dropFirst()) where next.starts(with: "--=_".utf8) {
            #expect(line.last != UInt8(ascii: "="), "a body ends in a soft line break: \(about)")
        }
        #expect(body.last?.last != UInt8(ascii: "="), "\(about)")
    }

    @Test func `K-04: a prepared message has the identity and the text of the one that is made piece by piece`() throws
    {
        let composer = try #require(Self.composer)
        var random = SeededGenerator(seed: 4)
        var prepared = 0
        for _ in 0..<1500 {
            let html = Self.template(Self.markup + Self.texts, &random)
            let text = Self.template(Self.texts, &random)
            let isTracked = Int.random(in: 0..<5, using: &random) > 0
            guard
                var document = try? Self.document(
                    html: Int.random(in: 0..<9, using: &random) > 0 ? html : nil,
                    text: Int.random(in: 0..<9, using: &random) > 0 ? text : nil,
                    subject: ["News for {{name}}", "{{id}}", "{{absent}}"].randomElement(using: &random) ?? "",
                    isTracked: isTracked)
            else { continue }
            let outline = MessageOutline(document)
            for _ in 0..<2 {
                let recipient = Self.recipient(try Self.fields(&random))
                document.outline = nil
                let expected = composer.compose(recipient, of: document, unixSeconds: 1_795_287_600)
                document.outline = outline
                let made = composer.compose(recipient, of: document, unixSeconds: 1_795_287_600)
                try Self.expectEqual(made, expected, "\([html, text, recipient.fields])")
                if outline?.merge(recipient) != nil { prepared += 1 }
            }
        }
        #expect(prepared > 800)
    }

    @Test func `what merge values could bend is made piece by piece`() throws {
        for html in [
            "<a {{name}}>", "<a href={{id}}>", "<{{name}}", "</{{name}}", "<!--{{name}}>", "<!-- -{{name}}->",
            "<title></tit{{name}}le>", "</bo{{name}}dy>", "<!-{{name}}", "{{#name}}x{{/name}}",
            "<a href=\"https://x.example/<{{id}}\">",
        ] {
            let links = "<a href=\"https://x.example/1\">"
            #expect(MessageOutline(try Self.document(html: links + html, text: nil)) == nil, "\(html)")
        }
        let raw = try #require(MessageOutline(try Self.document(html: "{{{name}}}", text: nil)))
        #expect(raw.merge(Self.recipient("{}", name: "<b>")) == nil)
        #expect(raw.merge(Self.recipient("{}", name: "b")) != nil)
        let personal = try #require(MessageOutline(try Self.document(html: "{{name}} {{respond_url}}", text: nil)))
        #expect(personal.merge(Self.recipient("{}", name: "https://link.rollcall.invalid/respond_url")) == nil)
    }

    @Test(arguments: [
        #"{"name": 5}"#, #"{"name": null}"#, #"{"x": {"name": "a"}}"#, #"{"x": [1]}"#, #"{"name": "\u0041"}"#,
        #"{"n\u0061me": "a"}"#, "{\"\u{212A}ey\": \"a\"}", #"{"name": "a"} "#, #"{"name": "a""#, #"{"name" "a"}"#, "[]",
        "",
    ]) func `fields that are not plain texts are left to a parser`(_ fields: String) {
        let names = ["name", "Key"].map { MergeFields.Name($0) }
        #expect(MergeFields.texts(of: Self.recipient(fields), for: names) == nil)
    }

    @Test func `fields go before what every list has, and an empty one is absent`() throws {
        let names = ["name", "school", "email", "person_ref", "bus", "line"].map { MergeFields.Name($0) }
        let fields = #"{"bus": "7", "name": "", "line": "a\r\n\"b\"\\\t\/é", "sum": 5, "none": null, "school": "Oak"}"#
        let texts = try #require(MergeFields.texts(of: Self.recipient(fields, name: "Ann"), for: names))
        let expected = ["", "Oak", "family@home.example", "F3", "7", "a\r\n\"b\"\\\t/é"]
        #expect(texts == expected.map { Array($0.utf8) })
    }
}
