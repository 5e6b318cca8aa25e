import Mail
import TestKit
import Testing

@Suite struct SMTPReplyParserTests {
    private func replies(_ chunks: [String]) throws -> [SMTPReply] {
        var parser = SMTPReplyParser()
        return try chunks.flatMap { try parser.consume($0.utf8) }
    }

    private func fault(_ text: String) -> SMTPReplyParser.Fault? {
        var parser = SMTPReplyParser()
        do {
            _ = try parser.consume(text.utf8)
            return nil
        } catch {
            return error
        }
    }

    static let dialogue =
        "220 mx ESMTP\r\n250-mx\r\n250-PIPELINING\r\n250 SIZE 10240000\r\n550-5.1.1 no such\r\n550 5.1.1 user\n354\r\n"

    @Test func `replies come out the same wherever the stream is cut`() throws {
        let whole = try replies([Self.dialogue])
        #expect(whole.map(\.code) == [220, 250, 550, 354])
        let octets = Array(Self.dialogue.utf8)
        for cut in octets.indices {
            var parser = SMTPReplyParser()
            let parts = try parser.consume(octets[..<cut]) + parser.consume(octets[cut...])
            #expect(parts == whole, "cut at \(cut)")
        }
        var parser = SMTPReplyParser()
        var single: [SMTPReply] = []
        for octet in octets { if let reply = try parser.consume(octet) { single.append(reply) } }
        #expect(single == whole)
        #expect(!parser.isInsideReply)
    }

    @Test func `random replies, cut at random places, read back as they were written`() throws {
        for seed in 0..<1_000 {
            var generator = SeededGenerator(seed: UInt64(seed))
            var octets: [UInt8] = []
            let written = (0..<Int.random(in: 1...6, using: &generator)).map { _ in
                let code = Int.random(in: 200...599, using: &generator)
                let lines = (0..<Int.random(in: 1...4, using: &generator)).map { _ in
                    ["", "ok", "5.1.1 no", "250 x", "-", " 354", "é", String(repeating: "y", count: 2_040)]
                        .randomElement(using: &generator) ?? ""
                }
                for (index, line) in lines.enumerated() {
                    let end = Bool.random(using: &generator) ? "\r\n" : "\n"
                    octets += Array("\(code)\(index == lines.count - 1 ? " " : "-")\(line)\(end)".utf8)
                }
                return SMTPReply(code: code, lines: lines)
            }
            var cuts = (0..<8).map { _ in Int.random(in: 0...octets.count, using: &generator) }.sorted()
            cuts = [0] + cuts + [octets.count]
            var parser = SMTPReplyParser()
            let found = try zip(cuts, cuts.dropFirst()).flatMap { try parser.consume(octets[$0..<$1]) }
            #expect(found == written, "seed \(seed)")
            #expect(!parser.isInsideReply)
        }
    }

    @Test func `a reply with one octet spoiled is another reply or a fault, and ends the dialogue when it is a fault`()
    {
        let good = Array("250-2.0.0 a\r\n250 2.0.0 b\r\n".utf8)
        for index in good.indices {
            for octet in UInt8.min...UInt8.max {
                var spoiled = good
                spoiled[index] = octet
                var parser = SMTPReplyParser()
                do {
                    for reply in try parser.consume(spoiled) {
                        #expect((200...599).contains(reply.code))
                        #expect(reply.lines.allSatisfy { headerFault(in: $0.replacing("\u{FFFD}", with: "?")) == nil })
                    }
                } catch {
                    #expect(throws: error) { try parser.consume(good) }
                }
            }
        }
    }

    @Test func `a multi-line reply keeps its lines and loses repeated enhanced codes in its text`() throws {
        let reply = try #require(try replies([Self.dialogue]).dropFirst(2).first)
        #expect(reply.lines == ["5.1.1 no such", "5.1.1 user"])
        #expect(reply.enhanced == EnhancedStatusCode(5, 1, 1))
        #expect(reply.text == "no such user")
        #expect(reply.isPermanent)
    }

    @Test func `an enhanced code of another class is text`() throws {
        let reply = try #require(try replies(["550 2.1.5 odd\r\n"]).first)
        #expect(reply.enhanced == nil)
        #expect(reply.text == "2.1.5 odd")
    }

    @Test(arguments: [
        "hello\r\n", "25\r\n", "\r\n", "250_x\r\n", "199 x\r\n", "600 x\r\n", "150 x\r\n", "２５０ x\r\n", "250 a\rb\r\n",
        "250 a\r\r\n", " 250 x\r\n",
    ]) func `a line that is no reply is a fault`(_ text: String) {
        guard case .malformedLine = fault(text) else {
            Issue.record("\(text.debugDescription) gave \(String(describing: fault(text)))")
            return
        }
    }

    @Test func `different codes in one reply are a fault`() {
        #expect(fault("250-a\r\n550 b\r\n") == .mixedCodes(250, 550))
    }

    @Test func `lines and replies have a limit`() {
        #expect(fault("250 " + String(repeating: "x", count: 2_043) + "\r\n") == nil)
        #expect(fault("250 " + String(repeating: "x", count: 2_045)) == .lineTooLong)
        #expect(fault(String(repeating: "250-x\r\n", count: 99) + "250 x\r\n") == nil)
        #expect(fault(String(repeating: "250-x\r\n", count: 101)) == .tooManyLines)
    }

    @Test func `after a fault nothing more is read`() {
        var parser = SMTPReplyParser()
        #expect(throws: SMTPReplyParser.Fault.self) { try parser.consume("junk\r\n".utf8) }
        #expect(throws: SMTPReplyParser.Fault.self) { try parser.consume("250 ok\r\n".utf8) }
    }

    @Test func `control characters and broken text cannot travel on in a reply`() throws {
        var parser = SMTPReplyParser()
        let reply = try #require(
            try parser.consume([0x35, 0x35, 0x30, 0x20, 0x1B, 0x00, 0xFF, 0x41, 0x0D, 0x0A]).first)
        #expect(reply.lines == ["??\u{FFFD}A"])
    }
}

@Suite struct ReplyVerdictTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let line: String
        let stage: SMTPStage
        let verdict: ReplyVerdict
        var testDescription: String { "\(line) at \(stage)" }

        init(_ line: String, _ stage: SMTPStage, _ verdict: ReplyVerdict) {
            self.line = line
            self.stage = stage
            self.verdict = verdict
        }
    }

    @Test(arguments: [
        Row("250 2.0.0 queued", .dot, .accepted),
        Row("550 5.1.1 unknown", .recipient, .rejected(cause: .mailboxInvalid)),
        Row("550 5.1.10 null MX", .recipient, .rejected(cause: .mailboxInvalid)),
        Row("550 5.1.1 unknown", .dot, .rejected(cause: .mailboxInvalid)),
        Row("550 5.2.1 disabled", .recipient, .rejected(cause: .mailboxInvalid)),
        Row("552 5.2.2 full", .recipient, .rejected(cause: .other)),
        Row("550 5.7.1 policy", .recipient, .rejected(cause: .other)),
        Row("553 5.1.8 sender domain", .recipient, .rejected(cause: .other)),
        Row("550 5.1.7 bad sender", .mail, .rejected(cause: .other)),
        Row("550 unknown", .recipient, .rejected(cause: .mailboxInvalid)),
        Row("550 spam", .dot, .rejected(cause: .other)),
        Row("554 no", .recipient, .rejected(cause: .other)),
        Row("452 4.2.2 full", .recipient, .deferred),
        Row("421 4.3.2 closing", .mail, .deferred),
        Row("354 go on", .dot, .deferred),
    ]) func `I-07: only a reply about the address makes the address invalid`(_ row: Row) throws {
        var parser = SMTPReplyParser()
        let reply = try #require(try parser.consume("\(row.line)\r\n".utf8).first)
        let verdict = ReplyVerdict(reply, at: row.stage)
        #expect(verdict == row.verdict)
        #expect(verdict.isAddressFault == (row.verdict == .rejected(cause: .mailboxInvalid)))
    }

    @Test(arguments: ["5.1", "5.1.1.1", "3.1.1", "5.1.", "5.1.1x", "5.1.1000", "", "50.1.1", "5..1"])
    func `a malformed enhanced code is none`(_ text: String) {
        #expect(EnhancedStatusCode(text) == nil)
    }
}
