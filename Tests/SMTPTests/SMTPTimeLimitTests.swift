import Mail
import NIOCore
import NIOEmbedded
import Synchronization
import Testing

@testable import SMTP

/// On an event loop whose time the test moves on.
@Suite struct SMTPTimeLimitTests {
    private static let text = Array("Subject: x\r\n\r\nx\r\n".utf8)

    private func answer(_ lines: String, _ channel: EmbeddedChannel) throws {
        try channel.writeInbound(ByteBuffer(string: lines))
    }

    private static func delivery(_ finished: @escaping @Sendable (SMTPOutcome) -> Void) -> SMTPDelivery {
        SMTPDelivery(
            message: SMTPSession.Message(
                envelope: SMTPEnvelope(sender: "b@s.example", recipient: "r@x.example"), message: text),
            body: DotStuffing.octets(of: text), deadline: .now + .seconds(3600), entered: nil, beforeDot: nil,
            afterDot: nil, finished: { finished($0.outcome) })
    }

    /// RFC 5321 §4.5.3.2: each command has its own limit, also when three of them went out in one write.
    @Test func `each pipelined command has the whole time to be answered`() throws {
        let channel = EmbeddedChannel()
        let opened = channel.eventLoop.makePromise(of: SMTPOutcome?.self)
        let handler = SMTPChannelHandler(
            configuration: SMTPConfiguration(host: "mx.example", port: 25, heloName: "me.example"),
            openDeadline: .now + .seconds(3600), opened: opened, now: { .now }, report: { _ in },
            begin: { _, _ in 1000 })
        try channel.pipeline.syncOperations.addHandler(handler)
        try channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 25)).wait()
        try answer("220 mx\r\n", channel)
        try answer("250-mx\r\n250 PIPELINING\r\n", channel)
        #expect(try opened.futureResult.wait() == nil)

        let outcome = Mutex<SMTPOutcome?>(nil)
        handler.deliver(Self.delivery { result in outcome.withLock { $0 = result } })
        for reply in ["250 sender\r\n", "250 recipient\r\n", "354 go\r\n", "250 queued\r\n"] {
            channel.embeddedEventLoop.advanceTime(by: .seconds(200))
            #expect(outcome.withLock { $0 } == nil)
            try answer(reply, channel)
        }
        #expect(outcome.withLock { $0 } == .accepted(SMTPReply(code: 250, lines: ["queued"])))

        handler.deliver(Self.delivery { result in outcome.withLock { $0 = result } })
        try answer("250 sender\r\n", channel)
        channel.embeddedEventLoop.advanceTime(by: .seconds(301))
        #expect(
            outcome.withLock { $0 } == .deferred(nil, stage: .recipient, reason: "no reply in time"))
        _ = try channel.finish(acceptAlreadyClosed: true)
    }
}
