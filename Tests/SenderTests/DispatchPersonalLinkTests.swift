import Delivery
import Mail
import SMTP
import Signing
import Testing

@testable import sender

@Suite struct `A reader's own links` {
    private static let blast = BlastID(high: 0x0197_0000_0000_7000, low: 0x8000_0000_0000_0002)
    private static let html = "<a href=\"{{unsubscribe_url}}\">x</a><a href=\"{{respond_url}}\">y</a>{{name}}"
    private static let text = "{{acknowledge_url}} {{name}}"

    private static func composer() throws -> MessageComposer {
        MessageComposer(
            publicURL: "https://t.example", bounceDomain: "bounce.example",
            keys: try TokenKeys(["1:" + String(repeating: "ab", count: 32)]))
    }

    private static func document() throws -> BlastDocument {
        BlastDocument(
            blast: blast, district: DistrictID(7), isEmergency: false,
            from: Mailbox(address: try EmailAddress(parsing: "office@school.example")), replyTo: nil,
            template: .success(try MessageTemplate(subject: "s", html: html, text: text)), links: [:])
    }

    private static func recipient(_ number: Int32, name: String = "N", person: String? = nil) -> Recipient {
        Recipient(
            number: number, address: "a@home.example", addressHash: [1], name: name, personReference: person,
            school: nil,
            fields: "{}")
    }

    private static func body(_ composition: Composition) throws -> String {
        String(decoding: try composition.result.get().octets, as: UTF8.self).replacing("=\r\n", with: "")
            .replacing("=3D", with: "=")
    }

    @Test func `are signed for the delivery and its purpose, and do not change what the content is (K-04)`() throws {
        let composer = try Self.composer()
        let document = try Self.document()
        let first = composer.compose(Self.recipient(1), of: document, unixSeconds: 0)
        let second = composer.compose(Self.recipient(2), of: document, unixSeconds: 0)
        #expect(first.contentHash == second.contentHash)
        let body = try Self.body(first)
        #expect(!body.contains("rollcall.invalid"))
        for (path, purpose) in [("/u/", LinkToken.Purpose.unsubscribe), ("/r/", .respond), ("/a/", .acknowledge)] {
            let tokens = body.split(separator: "https://t.example\(path)").dropFirst().map {
                composer.keys.verify(String($0.prefix { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "_" }))
            }
            #expect(!tokens.isEmpty)
            #expect(tokens.allSatisfy { $0?.purpose == purpose && $0?.delivery.recipientNumber == 1 })
        }
    }

    @Test func `stand whole before a combining character and beside each other`() {
        let stand = PersonalLink.respond.standIn
        #expect(
            Array(PersonalLink.resolve("\(stand)\u{301}\(stand)\(stand)x", { _ in "L" }).utf8)
                == Array("L\u{301}LLx".utf8))
        #expect(PersonalLink.resolve("https://link.rollcall.invalid/other", { _ in "L" }).hasSuffix("/other"))
    }

    @Test func `an exempted category has no List-Unsubscribe, an untracked one no pixel and no rewritten link (S-16)`()
        throws
    {
        let composer = try Self.composer()
        var document = try Self.document()
        #expect(
            try Self.body(composer.compose(Self.recipient(1), of: document, unixSeconds: 0)).contains(
                "List-Unsubscribe:"))
        document.offersUnsubscribe = false
        document.isTracked = false
        let body = try Self.body(composer.compose(Self.recipient(1), of: document, unixSeconds: 0))
        for unwanted in ["List-Unsubscribe", "/o/", "/c/"] { #expect(!body.contains(unwanted)) }
        #expect(body.contains("X-Rollcall-Delivery:"))
    }

    @Test func `siblings who count apart have content of their own (K-03)`() throws {
        let composer = try Self.composer()
        var document = try Self.document()
        func hash(_ person: String?) -> [UInt8]? {
            composer.compose(Self.recipient(1, person: person), of: document, unixSeconds: 0).contentHash
        }
        #expect(hash("a") == hash("b"))
        document.countsByPerson = true
        #expect(hash("a") != hash("b"))
        #expect(hash("a") == hash("a"))
    }
}
