import NIOCore
import NIOPosix
import Synchronization

/// An SMTP server whose every reaction is a line of a test.
final class ScriptedServer: Sendable {
    enum Event: Equatable, Sendable {
        case connected
        /// A command line without its line end.
        case command(String)
        /// The final dot has arrived.
        case dot
    }

    enum Reaction: Sendable {
        case reply(String)
        case replyAndClose(String)
        /// Answers and then takes nothing more off the network.
        case replyAndStall(String)
        case close
        case silence
    }

    struct Record: Sendable {
        var connections = 0
        var ended = 0
        var commands: [String] = []
        /// Complete messages: those whose final dot arrived.
        var messages: [[UInt8]] = []
        /// Octets of a message whose dot has not arrived.
        var unfinished = 0
    }

    let port: Int
    private let channel: any Channel
    private let record: ServerRecord

    /// - Parameter react: gets the number of the connection, from 1, and what happened on it.
    init(on group: any EventLoopGroup, _ react: @escaping @Sendable (Int, Event) -> Reaction) async throws {
        let record = ServerRecord()
        channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ScriptedHandler(record, react))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = channel.localAddress?.port ?? 0
        self.record = record
    }

    var seen: Record { record.value.withLock { $0 } }

    func stop() async throws {
        try await channel.close().get()
    }

    /// The reactions of a server that takes everything.
    static func accept(_ event: Event, extensions: String = "250-mx\r\n250 PIPELINING") -> Reaction {
        switch event {
        case .connected: .reply("220 mx ESMTP")
        case .command(let line) where line.hasPrefix("EHLO"): .reply(extensions)
        case .command("DATA"): .reply("354 go on")
        case .command("QUIT"): .replyAndClose("221 bye")
        case .command: .reply("250 2.0.0 ok")
        case .dot: .reply("250 2.0.0 queued")
        }
    }
}

final class ServerRecord: Sendable {
    let value = Mutex(ScriptedServer.Record())
}

private final class ScriptedHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let record: ServerRecord
    private let react: @Sendable (Int, ScriptedServer.Event) -> ScriptedServer.Reaction
    private var number = 0
    private var octets: [UInt8] = []
    private var isInMessage = false

    init(
        _ record: ServerRecord, _ react: @escaping @Sendable (Int, ScriptedServer.Event) -> ScriptedServer.Reaction
    ) {
        self.record = record
        self.react = react
    }

    func channelActive(context: ChannelHandlerContext) {
        number = record.value.withLock { record in
            record.connections += 1
            return record.connections
        }
        perform(.connected, context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        let unfinished = isInMessage ? octets.count : 0
        record.value.withLock { record in
            record.ended += 1
            record.unfinished += unfinished
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        octets += unwrapInboundIn(data).readableBytesView
        while isInMessage ? takeMessage(context) : takeCommand(context) {}
    }

    private func takeCommand(_ context: ChannelHandlerContext) -> Bool {
        guard let end = octets.firstIndex(of: 10) else { return false }
        let line = String(decoding: octets[..<end].filter { $0 != 13 }, as: UTF8.self)
        octets.removeFirst(end + 1)
        record.value.withLock { $0.commands.append(line) }
        perform(.command(line), context)
        return true
    }

    private func takeMessage(_ context: ChannelHandlerContext) -> Bool {
        let terminator: [UInt8] = [13, 10, 46, 13, 10]
        guard let at = octets.indices.first(where: { octets[$0...].starts(with: terminator) }) else { return false }
        let message = Array(octets[..<at])
        octets.removeFirst(at + 5)
        isInMessage = false
        record.value.withLock { $0.messages.append(message) }
        perform(.dot, context)
        return true
    }

    private func perform(_ event: ScriptedServer.Event, _ context: ChannelHandlerContext) {
        switch react(number, event) {
        case .reply(let text):
            if text.hasPrefix("354") { isInMessage = true }
            send(text, context)
        case .replyAndClose(let text):
            send(text, context)
            context.close(promise: nil)
        case .replyAndStall(let text):
            send(text, context)
            context.channel.setOption(.autoRead, value: false).whenFailure { _ in }
        case .close: context.close(promise: nil)
        case .silence: break
        }
    }

    private func send(_ text: String, _ context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text + "\r\n")), promise: nil)
    }
}
