import NIOCore
import NIOPosix
import Synchronization

/// An SMTP server in a few lines, of one kind for all its life or until told otherwise.
final class RelayServer: Sendable {
    enum Kind: Sendable {
        case working, hanging, closing, refusing
        /// Takes the final dot and closes without an answer.
        case doubtful
    }

    struct State: Sendable {
        var kind: Kind
        var connections = 0
        var most = 0
        var texts: [String] = []
    }

    let port: Int
    private let channel: any Channel
    private let shared: RelayServerState

    init(_ kind: Kind, extensions: [String] = []) async throws {
        let shared = RelayServerState(kind)
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(RelayServerHandler(shared, extensions))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = channel.localAddress?.port ?? 0
        self.shared = shared
    }

    var state: State { shared.value.withLock { $0 } }

    func become(_ kind: Kind) { shared.value.withLock { $0.kind = kind } }

    func stop() async throws { try await channel.close().get() }
}

final class RelayServerState: Sendable {
    let value: Mutex<RelayServer.State>

    init(_ kind: RelayServer.Kind) { value = Mutex(RelayServer.State(kind: kind)) }
}

private final class RelayServerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let shared: RelayServerState
    private let extensions: [String]
    private var octets: [UInt8] = []
    private var isInText = false

    init(_ shared: RelayServerState, _ extensions: [String]) {
        self.shared = shared
        self.extensions = extensions
    }

    func channelActive(context: ChannelHandlerContext) {
        let kind = shared.value.withLock { state in
            state.connections += 1
            state.most = max(state.most, state.connections)
            return state.kind
        }
        switch kind {
        case .hanging: break
        case .closing: context.close(promise: nil)
        case .refusing: send("421 4.3.2 no service now", context)
        case .working, .doubtful: send("220 relay", context)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        shared.value.withLock { $0.connections -= 1 }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        octets += unwrapInboundIn(data).readableBytesView
        while let end = octets.firstIndex(of: 0x0A) {
            let line = String(decoding: octets[..<end].filter { $0 != 0x0D }, as: UTF8.self)
            octets.removeFirst(end + 1)
            if isInText { take(text: line, context) } else { take(command: line, context) }
        }
    }

    private func take(text line: String, _ context: ChannelHandlerContext) {
        if line == "." {
            isInText = false
            let kind = shared.value.withLock { $0.kind }
            if kind == .doubtful { context.close(promise: nil) } else { send("250 2.0.0 queued", context) }
        } else if line.hasPrefix("Subject: ") {
            shared.value.withLock { $0.texts.append(String(line.dropFirst(9))) }
        }
    }

    private func take(command line: String, _ context: ChannelHandlerContext) {
        switch line.prefix(4) {
        case "EHLO":
            send(
                (["relay"] + extensions).enumerated().map { index, text in
                    (index == extensions.count ? "250 " : "250-") + text
                }.joined(separator: "\r\n"), context)
        case "DATA":
            isInText = true
            send("354 go on", context)
        case "QUIT":
            send("221 bye", context)
            context.close(promise: nil)
        default: send("250 ok", context)
        }
    }

    private func send(_ text: String, _ context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text + "\r\n")), promise: nil)
    }
}
