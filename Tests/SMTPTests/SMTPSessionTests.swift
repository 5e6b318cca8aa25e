import Mail
import Testing

@testable import SMTP

@Suite struct SMTPSessionTests {
    private static func reply(_ text: String) -> SMTPReply {
        var parser = SMTPReplyParser()
        let replies = (try? parser.consume((text + "\r\n").utf8)) ?? []
        return replies.first ?? SMTPReply(code: 0, lines: [])
    }

    private static let message = SMTPSession.Message(
        envelope: SMTPEnvelope(sender: "b@s.example", recipient: "r@x.example"), message: Array("A: b\r\n\r\nc".utf8))

    private static let inputs: [SMTPSession.Input] =
        [
            "220 hi", "250 ok", "250-mx\r\n250-PIPELINING\r\n250 SIZE 99999", "251 forwarded", "354 go",
            "421 4.3.2 bye", "452 4.2.2 full", "500 what", "550 5.1.1 no", "221 bye", "235 you are", "334 go on",
            "250-mx\r\n250-STARTTLS\r\n250-DSN\r\n250 AUTH PLAIN", "250-mx\r\n250 AUTH LOGIN", "530 5.7.0 first",
        ].map { .reply(reply($0)) } + [
            .malformed(reason: "junk"), .closed(reason: "gone"), .timedOut(reason: "late"), .bodyWritten(inTime: true),
            .bodyWritten(inTime: false), .dotWithheld(reason: "torn"), .secured, .quit,
        ]

    private struct Walk {
        var session: SMTPSession
        var isPending = false
        var saw354 = false
        var wroteDot = false
        var path: [String] = []

        var key: String {
            "\(session.state) \(session.isSecure) \(session.extensions) \(isPending) \(saw354) \(wroteDot)"
        }
    }

    /// Feeds one input, checks every law that must hold, and returns where that leads.
    private func step(_ walk: Walk, _ input: SMTPSession.Input) -> Walk {
        var next = walk
        let actions = next.session.handle(input)
        next.path.append("\(input)")
        let trace = Comment(rawValue: next.path.joined(separator: " → ") + " ⇒ \(actions)")
        if case .deliver = input { (next.isPending, next.saw354, next.wroteDot) = (true, false, false) }
        var finishes: [SMTPOutcome] = []
        for action in actions {
            switch action {
            case .writeBody:
                guard case .reply(let reply) = input, reply.code == 354 else {
                    Issue.record("a body without a 354: \(trace)")
                    continue
                }
                #expect(next.isPending && !next.saw354, trace)
                next.saw354 = true
            case .writeDot:
                guard case .bodyWritten(inTime: true) = input else {
                    Issue.record("a dot without a body written in time: \(trace)")
                    continue
                }
                #expect(next.isPending && next.saw354 && !next.wroteDot, trace)
                next.wroteDot = true
            case .finish(let outcome, let isStale):
                finishes.append(outcome)
                if isStale { #expect(!next.saw354, trace) }
            case .opened, .release: #expect(next.session.state == .ready, trace)
            case .close: #expect(next.session.isClosed, trace)
            case .refused: #expect(!next.isPending && next.session.isClosed, trace)
            case .startTLS: #expect(!next.session.isSecure && next.session.state == .handshake, trace)
            case .send(let line):
                #expect(line.hasSuffix("\r\n") && !line.contains("\n."), trace)
                checkPrivacy(line, next.session, trace)
            }
        }
        #expect(finishes.count <= (next.isPending ? 1 : 0), trace)
        if let outcome = finishes.first {
            check(outcome, input, wroteDot: next.wroteDot, trace)
            next.isPending = false
        }
        if next.session.isClosed || next.session.state == .ready { #expect(!next.isPending, trace) }
        if walk.session.isClosed, !walk.isPending, case .reply = input { #expect(actions.isEmpty, trace) }
        return next
    }

    /// Nothing that the policy wants protected goes out unprotected.
    private func checkPrivacy(_ line: String, _ session: SMTPSession, _ trace: Comment) {
        let isHarmless = ["EHLO ", "HELO ", "STARTTLS", "QUIT"].contains { line.hasPrefix($0) }
        switch session.policy.encryption {
        case .required, .fromStart: #expect(session.isSecure || isHarmless, trace)
        case .never, .whenOffered: break
        }
        guard case .auth = session.state else { return }
        #expect(session.isSecure || session.policy.allowsClearTextCredentials, trace)
    }

    private func check(_ outcome: SMTPOutcome, _ input: SMTPSession.Input, wroteDot: Bool, _ trace: Comment) {
        switch outcome {
        case .inDoubt: #expect(wroteDot, trace)
        case .accepted(let reply): #expect(wroteDot && reply.isPositive, trace)
        case .rejected(let reply, _): #expect(reply.isPermanent, trace)
        case .deferred(let reply, let stage, _):
            if case .dotWithheld = input {
                #expect(wroteDot && stage == .body, trace)
            } else if wroteDot {
                #expect(stage == .dot && reply?.isTransient == true, trace)
            }
        }
        guard wroteDot else { return }
        switch input {
        case .closed, .timedOut, .malformed:
            guard case .inDoubt = outcome else {
                Issue.record("an end after the dot must leave doubt: \(trace)")
                return
            }
        default: break
        }
    }

    private static let credentials = SMTPCredentials(user: "u", password: "p")

    private static let policies: [SMTPSession.Policy] = [
        SMTPSession.Policy(), SMTPSession.Policy(encryption: .whenOffered),
        SMTPSession.Policy(encryption: .required, credentials: credentials), SMTPSession.Policy(encryption: .fromStart),
        SMTPSession.Policy(encryption: .whenOffered, credentials: credentials),
        SMTPSession.Policy(credentials: credentials, allowsClearTextCredentials: true),
    ]

    @Test func `in every reachable state every input keeps the laws, under every policy`() {
        var names: Set<Substring> = []
        for policy in Self.policies {
            var seen: Set<String> = []
            var front = [Walk(session: SMTPSession(heloName: "me.example", policy: policy))]
            while let walk = front.popLast() {
                guard seen.insert(walk.key).inserted else { continue }
                names.insert("\(walk.session.state)".prefix { $0 != "(" })
                var inputs = Self.inputs
                if !walk.isPending { inputs.append(.deliver(Self.message)) }
                for input in inputs { front.append(step(walk, input)) }
            }
            #expect(seen.count > 40)
        }
        #expect(
            names == [
                "greeting", "ehlo", "helo", "startTLS", "handshake", "auth", "ready", "mail", "recipient", "data",
                "body", "final", "draining", "reset", "quitting", "closed",
            ])
    }

    @Test func `with DSN the server is asked for notices of failure and delay, in the encoding of RFC 3461 and 6533`() {
        let ehlo = "250-mx\r\n250-SMTPUTF8\r\n250-8BITMIME\r\n250 DSN"
        for (recipient, original) in [
            ("r@x.example", "rfc822;r@x.example"), ("a+b=c@x.example", "rfc822;a+2Bb+3Dc@x.example"),
            ("jos\u{E9}+x@x.example", "utf-8;jos\\x{E9}\\x{2B}x@x.example"),
        ] {
            let message = SMTPSession.Message(
                envelope: SMTPEnvelope(sender: "b@s.example", recipient: recipient, envelopeID: "0192/3=+"),
                message: [])
            let actions = run(ehlo: ehlo, [.reply(Self.reply("250 ok"))], message: message)
            let utf8 = recipient.utf8.count == recipient.count ? "" : " SMTPUTF8"
            #expect(
                actions == [
                    .send("MAIL FROM:<b@s.example>\(utf8) RET=HDRS ENVID=0192/3+3D+2B\r\n"),
                    .send("RCPT TO:<\(recipient)> NOTIFY=FAILURE,DELAY ORCPT=\(original)\r\n"),
                ])
        }
        let strange = SMTPSession.Message(
            envelope: SMTPEnvelope(sender: "", recipient: "r@x.example", envelopeID: "a b\r\nQUIT"), message: [])
        #expect(run(ehlo: ehlo, [], message: strange) == [.send("MAIL FROM:<> RET=HDRS\r\n")])
    }

    @Test func `octets above 127 are not given to a server without 8BITMIME`() {
        let message = SMTPSession.Message(
            envelope: SMTPEnvelope(sender: "", recipient: "r@x.example"), message: Array("A: b\r\n\r\n\u{E9}".utf8))
        guard case .finish(.rejected(let reply, .mail), false) = run(ehlo: "250 mx", [], message: message).last else {
            Issue.record("it was offered")
            return
        }
        #expect(reply.code == 554 && reply.isLocal)
    }

    /// Runs a dialogue and returns all actions after the connection is open.
    private func run(ehlo: String, _ inputs: [SMTPSession.Input], message: SMTPSession.Message = message)
        -> [SMTPSession.Action]
    {
        var session = SMTPSession(heloName: "me.example")
        _ = session.handle(.reply(Self.reply("220 hi")))
        #expect(session.handle(.reply(Self.reply(ehlo))) == [.opened])
        return ([.deliver(message)] + inputs).flatMap { session.handle($0) }
    }

    @Test func `with PIPELINING the three commands go out as one`() {
        let actions = run(
            ehlo: "250-mx\r\n250-pipelining\r\n250-8BITMIME\r\n250 SIZE 1000",
            ["250 ok", "250 ok", "354 go"].map { .reply(Self.reply($0)) } + [.bodyWritten(inTime: true)])
        #expect(
            actions == [
                .send("MAIL FROM:<b@s.example> SIZE=9\r\nRCPT TO:<r@x.example>\r\nDATA\r\n"), .writeBody, .writeDot,
            ])
    }

    @Test func `without PIPELINING each command waits for its reply`() {
        let actions = run(
            ehlo: "250 mx",
            ["250 ok", "250 ok", "354 go"].map { .reply(Self.reply($0)) } + [
                .bodyWritten(inTime: true), .reply(Self.reply("250 2.0.0 queued")),
            ])
        #expect(
            actions == [
                .send("MAIL FROM:<b@s.example>\r\n"), .send("RCPT TO:<r@x.example>\r\n"), .send("DATA\r\n"), .writeBody,
                .writeDot, .release, .finish(.accepted(Self.reply("250 2.0.0 queued")), isStale: false),
            ])
    }

    @Test func `a refused recipient is followed by RSET and the connection is kept`() {
        let refusal = Self.reply("550 5.1.1 no")
        for (ehlo, replies) in [
            ("250-mx\r\n250 PIPELINING", ["250 ok", "550 5.1.1 no", "554 no recipients", "250 reset"]),
            ("250 mx", ["250 ok", "550 5.1.1 no", "250 reset"]),
        ] {
            let actions = run(ehlo: ehlo, replies.map { .reply(Self.reply($0)) })
            let end: [SMTPSession.Action] = [
                .send("RSET\r\n"), .release, .finish(.rejected(refusal, stage: .recipient), isStale: false),
            ]
            #expect(Array(actions.suffix(3)) == end)
        }
    }

    @Test func `a 354 for a refused recipient closes the connection instead of writing a dot`() {
        let actions = run(
            ehlo: "250-mx\r\n250 PIPELINING", ["250 ok", "550 5.1.1 no", "354 go"].map { .reply(Self.reply($0)) })
        let refusal = Self.reply("550 5.1.1 no")
        #expect(
            Array(actions.suffix(2)) == [.finish(.rejected(refusal, stage: .recipient), isStale: false), .close])
        #expect(!actions.contains(.writeDot) && !actions.contains(.writeBody))
    }

    @Test(arguments: [
        ("b\r\nRCPT TO:<evil@x.example>", "r@x.example"), ("b> SIZE=1\r\nRCPT TO:<e@x.example", "r@x.example"),
        ("b@s.example", "r@x.example>\r\nDATA"), ("b@s.example", "r@x.example> NOTIFY=NEVER"), ("b@s.example", ""),
        ("b@s.example", "r"), ("b@s.example", "<r@x.example>"), ("b@s.example", "r@x.example\n"),
        ("b@s.example", "\"r\\\"@x.example> \"@y.example>"),
    ]) func `S01: an envelope that could carry a command never reaches the wire`(
        _ sender: String, _ recipient: String
    ) {
        let message = SMTPSession.Message(
            envelope: SMTPEnvelope(sender: sender, recipient: recipient), message: [])
        let actions = run(ehlo: "250-mx\r\n250 PIPELINING", [], message: message)
        guard actions.count == 2, actions[0] == .release, case .finish(.rejected(let reply, .mail), false) = actions[1]
        else {
            Issue.record("\(actions)")
            return
        }
        #expect(reply.isLocal)
    }

    @Test func `what the server did not offer is refused beforehand`() {
        let utf8 = SMTPSession.Message(
            envelope: SMTPEnvelope(sender: "", recipient: "josé@x.example"), message: Array("A: b\r\n\r\nc".utf8))
        let large = SMTPSession.Message(
            envelope: SMTPEnvelope(sender: "", recipient: "r@x.example"), message: [UInt8](repeating: 65, count: 1_001))
        for (message, code) in [(utf8, 553), (large, 552)] {
            let actions = run(ehlo: "250-mx\r\n250 SIZE 1000", [], message: message)
            guard case .finish(.rejected(let reply, .mail), false) = actions.last else {
                Issue.record("\(actions)")
                continue
            }
            #expect(reply.code == code && reply.isLocal)
        }
        let offered = run(ehlo: "250-mx\r\n250-SMTPUTF8\r\n250 8BITMIME", [], message: utf8)
        #expect(offered == [.send("MAIL FROM:<> SMTPUTF8\r\n")])
    }

    @Test func `octets above 127 in the header need SMTPUTF8 and in the body only 8BITMIME`() {
        let envelope = SMTPEnvelope(sender: "", recipient: "r@x.example")
        let body = SMTPSession.Message(envelope: envelope, message: Array("A: b\r\n\r\né".utf8))
        let header = SMTPSession.Message(envelope: envelope, message: Array("A: é\r\n\r\nb".utf8))
        #expect(body.hasHighOctets && !body.needsSMTPUTF8)
        #expect(header.hasHighOctets && header.needsSMTPUTF8)
    }
}
