import Foundation
import Mail
import NIOPosix
import TestKit
import Testing

@testable import SMTP

@Suite("SMTP through Postfix", .timeLimit(.minutes(2)), .enabled(if: PostfixRelay.isUsable, "Postfix needs root"))
struct SMTPPostfixTests {
    /// Waits for what the server behind Postfix got: nil stands for any recipient.
    private func delivered(
        _ peers: MailPeers, from sender: String, to recipient: String? = nil, _ relay: PostfixRelay
    ) async throws -> [MailPeers.Received] {
        func arrived() throws -> [MailPeers.Received] {
            try peers.received(from: sender).filter { recipient == nil || $0.to == recipient }
        }
        do {
            try await eventually("Postfix delivers on", within: .seconds(60), every: .milliseconds(50)) {
                try !arrived().isEmpty
            }
        } catch {
            throw TestKitError("\(error); Postfix says: \(try relay.log())")
        }
        return try arrived()
    }

    /// What stands below the header fields that Postfix put in front.
    private func own(_ content: Data, _ text: [UInt8]) -> [UInt8] { Array(content.suffix(text.count)) }

    @Test func `a real relay takes our messages over TLS, pipelined and with DSN, and delivers them on octet by octet`()
        async throws
    {
        let peers = try await MailPeers.shared()
        try await PostfixRelay.run(nextHop: peers.port("plain"), peers: peers) { relay in
            try await deliverOn(peers, relay)
        }
    }

    private func deliverOn(_ peers: MailPeers, _ relay: PostfixRelay) async throws {
        var configuration = SMTPConfiguration(host: "127.0.0.1", port: relay.port, heloName: "me.example")
        configuration.security = .startTLS(try peers.tls("relay.test"), isRequired: true)
        configuration.maxConnections = 1
        let pool = SMTPConnectionPool(configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)

        let message = MIMEMessage(
            from: Mailbox(name: "Büro, Schule", address: try EmailAddress(parsing: "office@school.example")),
            to: Mailbox(name: "Jane", address: try EmailAddress(parsing: "jane@häuser.example")),
            subject: "Grüße 🎒 an alle", date: 1_790_000_000, messageID: "a1@bounce.example",
            text: ".\r\n..\r\n.\r\nFrom here\r\n\(String(repeating: "é", count: 600))\r\n", html: "<p>.</p>",
            boundary: "b1")
        let attempts = [
            Attempt(text: try message.encoded()),
            Attempt(recipient: "josé@home.example", text: Array("To: josé@home.example\r\n\r\n.x\r\n..\r\n".utf8)),
            Attempt(text: Array("From: a@b.example\r\nTo: c@d.example\r\nSubject: 8\r\n\r\nä\r\n.\r\nö\r\n".utf8)),
        ]
        for attempt in attempts {
            let outcome = await pool.deliver(
                SMTPEnvelope(sender: attempt.sender, recipient: attempt.recipient, envelopeID: "b/1"),
                message: attempt.text, dotDeadline: .now + .seconds(30))
            #expect(outcome.short == "accepted", "\(outcome)")
        }
        for attempt in attempts {
            let received = try await delivered(peers, from: attempt.sender, relay)
            #expect(received.map { own($0.content, attempt.text) } == [attempt.text])
            let head = String(decoding: received[0].content.dropLast(attempt.text.count), as: UTF8.self)
            #expect(head.hasPrefix("Received: from me.example") && head.contains("TLSv1.3"))
            #expect(received[0].to == attempt.recipient)
        }
        await pool.close()
    }

    @Test func `its bounce of an unknown mailbox comes to the return path and quotes our envelope id and recipient`()
        async throws
    {
        let peers = try await MailPeers.shared()
        try await PostfixRelay.run(nextHop: peers.port("plain"), peers: peers) { relay in
            try await bounce(peers, relay)
        }
    }

    private func bounce(_ peers: MailPeers, _ relay: PostfixRelay) async throws {
        let attempt = Attempt(recipient: "unknown+x=1@home.example")
        let outcome = await attempt.run(SMTPConfiguration(host: "127.0.0.1", port: relay.port, heloName: "me.example"))
        #expect(outcome.short == "accepted", "\(outcome)")
        // The bounce has no sender and is addressed to the return path.
        let bounces = try await delivered(peers, from: "<>", to: attempt.sender, relay)
        let text = String(decoding: try #require(bounces.first).content, as: UTF8.self)
        for line in [
            "Content-Type: multipart/report; report-type=delivery-status", "Original-Envelope-Id: id/1",
            "Original-Recipient: rfc822;unknown+x=1@home.example", "Action: failed", "Status: 5.1.1",
        ] {
            #expect(text.contains(line), "\(line) is not in \(text)")
        }
        #expect(text.contains("Content-Type: text/rfc822-headers"), "only the headers come back (RET=HDRS)")
        #expect(try peers.received(from: attempt.sender).isEmpty)
    }
}
