import Mail
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import SMTP

/// A network that does not take the end of a message.
private final class TornNetwork: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Fault: Error { case broken }

    private let fails: Bool
    private var held: EventLoopPromise<Void>?

    init(fails: Bool) {
        self.fails = fails
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let octets = unwrapOutboundIn(data)
        guard Array(buffer: octets).suffix(5) == DotStuffing.terminator else {
            return context.write(data, promise: promise)
        }
        if let part = octets.getSlice(at: octets.readerIndex, length: octets.readableBytes - 1) {
            context.write(wrapOutboundOut(part), promise: nil)
        }
        if fails { promise?.fail(Fault.broken) } else { held = promise }
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        held?.fail(ChannelError.ioOnClosedChannel)
        held = nil
        context.close(mode: mode, promise: promise)
    }
}

private final class Calls: Sendable {
    private let names = Mutex<[String]>([])

    func add(_ name: String) { names.withLock { $0.append(name) } }
    var seen: [String] { names.withLock { $0 } }
}

@Suite("SMTP: a text and its dot in one write", .timeLimit(.minutes(1)))
struct SMTPTornWriteTests {
    private static let text = Array("Subject: x\r\n\r\n.hello\nworld\r\n".utf8)

    private static func connect(
        to server: ScriptedServer, through network: (@Sendable () -> TornNetwork)?, _ calls: Calls
    ) async throws -> (any Channel, NIOLoopBound<SMTPChannelHandler>) {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let opened = loop.makePromise(of: SMTPOutcome?.self)
        let configuration = SMTPConfiguration(host: "127.0.0.1", port: server.port, heloName: "me.example")
        let handler = NIOLoopBoundBox.makeEmptyBox(valueType: SMTPChannelHandler.self, eventLoop: loop)
        let connected = try await ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let new = SMTPChannelHandler(
                        configuration: configuration, openDeadline: .now + .seconds(30), opened: opened,
                        now: { .now }, report: { if case .torn = $0 { calls.add("torn") } }, begin: { _, _ in 1_000 })
                    if let network { try channel.pipeline.syncOperations.addHandler(network()) }
                    try channel.pipeline.syncOperations.addHandler(new)
                    handler.value = new
                }
            }
            .connect(host: "127.0.0.1", port: server.port)
            .flatMapThrowing { channel in
                let made = try #require(handler.value)
                return (channel as any Channel, NIOLoopBound(made, eventLoop: loop))
            }.get()
        #expect(try await opened.futureResult.get() == nil)
        return connected
    }

    private static func deliver(
        over connection: (channel: any Channel, handler: NIOLoopBound<SMTPChannelHandler>), _ calls: Calls
    ) async -> SMTPOutcome {
        let envelope = SMTPEnvelope(sender: "b@s.example", recipient: "r@x.example")
        return await withCheckedContinuation { (done: CheckedContinuation<SMTPOutcome, Never>) in
            connection.channel.eventLoop.execute {
                connection.handler.value.deliver(
                    SMTPDelivery(
                        message: SMTPSession.Message(envelope: envelope, message: text),
                        body: DotStuffing.octets(of: text), deadline: .now + .seconds(30), entered: nil,
                        beforeDot: { calls.add("before") }, afterDot: { calls.add("after") },
                        finished: { done.resume(returning: $0.outcome) }))
            }
        }
    }

    @Test func `a network that takes all of them takes messages in a row`() async throws {
        let server = try await ScriptedServer(on: MultiThreadedEventLoopGroup.singleton) { ScriptedServer.accept($1) }
        let calls = Calls()
        let connection = try await Self.connect(to: server, through: nil, calls)
        for _ in 1...3 {
            #expect(
                await Self.deliver(over: connection, calls)
                    == .accepted(SMTPReply(code: 250, lines: ["2.0.0 queued"])))
        }
        #expect(calls.seen == ["before", "after", "before", "after", "before", "after"])
        #expect(
            server.seen.messages
                == Array(repeating: Array("Subject: x\r\n\r\n..hello\r\nworld".utf8), count: 3))
        try await connection.0.close().get()
        try await server.stop()
    }

    @Test(arguments: [true, false])
    func `a network that takes a part gets no dot ever, and the message was provably not sent`(
        _ fails: Bool
    ) async throws {
        let server = try await ScriptedServer(on: MultiThreadedEventLoopGroup.singleton) { ScriptedServer.accept($1) }
        let calls = Calls()
        let connection = try await Self.connect(to: server, through: { TornNetwork(fails: fails) }, calls)
        guard case .deferred(nil, .body, let reason) = await Self.deliver(over: connection, calls) else {
            Issue.record("not deferred")
            return
        }
        #expect(reason.contains(fails ? "writing failed" : "only a part"))
        try await connection.0.closeFuture.get()
        #expect(calls.seen == (fails ? ["before"] : ["before", "torn"]))
        #expect(server.seen.messages.isEmpty)
        try await server.stop()
    }
}
