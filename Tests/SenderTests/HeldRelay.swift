import NIOCore
import NIOPosix
import Synchronization

/// An SMTP server that keeps its answers to DATA back until told, and counts final dots.
final class HeldRelay: Sendable {
    struct State: Sendable {
        var isHolding = true
        var waiting: [EventLoopPromise<Void>] = []
        var dots = 0
        /// Connections that ended after DATA and before the final dot.
        var brokenOff = 0
    }

    let port: Int
    private let channel: any Channel
    private let shared: HeldRelayState

    init() async throws {
        let shared = HeldRelayState()
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(HeldRelayHandler(shared))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = channel.localAddress?.port ?? 0
        self.shared = shared
    }

    var state: State { shared.value.withLock { $0 } }

    /// Answers those who wait, and everybody from now on.
    func goOn() {
        let waiting = shared.value.withLock { state in
            defer { state.waiting = [] }
            state.isHolding = false
            return state.waiting
        }
        for promise in waiting { promise.succeed(()) }
    }

    func stop() async throws {
        goOn()
        try await channel.close().get()
    }
}

private final class HeldRelayState: Sendable {
    let value = Mutex(HeldRelay.State())
}

private final class HeldRelayHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let shared: HeldRelayState
    private var octets: [UInt8] = []
    private var isInText = false

    init(_ shared: HeldRelayState) { self.shared = shared }

    func channelActive(context: ChannelHandlerContext) { send("220 relay", context) }

    func channelInactive(context: ChannelHandlerContext) {
        if isInText { shared.value.withLock { $0.brokenOff += 1 } }
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
        guard line == "." else { return }
        isInText = false
        shared.value.withLock { $0.dots += 1 }
        send("250 2.0.0 queued", context)
    }

    private func take(command line: String, _ context: ChannelHandlerContext) {
        switch line.prefix(4) {
        case "EHLO": send("250 relay", context)
        case "DATA":
            isInText = true
            let promise = context.eventLoop.makePromise(of: Void.self)
            promise.futureResult.assumeIsolated().whenSuccess { [self] in send("354 go on", context) }
            let isHeld = shared.value.withLock { state in
                if state.isHolding { state.waiting.append(promise) }
                return state.isHolding
            }
            if !isHeld { promise.succeed(()) }
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
