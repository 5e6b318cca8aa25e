import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// HTTP/1.1 over kept connections, as little of it as this program needs: no TLS, no redirects, bodies of answers
/// are thrown away.
final class HTTPClient: Sendable {
    struct Request: Sendable {
        var method: HTTPMethod
        var url: String
        var headers: [(String, String)] = []
        var body: [UInt8] = []
    }

    struct Target: Hashable, Sendable {
        let host: String
        let port: Int
    }

    private struct Connection: Sendable {
        let channel: any Channel
        let handler: NIOLoopBound<HTTPExchangeHandler>
    }

    private let idle = Mutex<[Target: [Connection]]>([:])
    private let timeout = TimeAmount.seconds(30)

    /// The status of the answer.
    func send(_ request: Request) async throws -> Int {
        guard let (target, path) = Self.parse(request.url) else { throw SimulatorFault("no http URL: \(request.url)") }
        if let kept = idle.withLock({ $0[target]?.popLast() }) {
            if let status = try? await exchange(request, path, target, on: kept) { return status }
        }
        return try await exchange(request, path, target, on: connect(to: target))
    }

    static func parse(_ url: String) -> (Target, path: String)? {
        guard url.hasPrefix("http://"), url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        let rest = url.dropFirst(7)
        let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        let path = rest.dropFirst(authority.count).prefix { $0 != "#" }
        guard let (host, port) = hostAndPort(String(authority), defaultPort: 80) else { return nil }
        return (Target(host: host, port: port), path.hasPrefix("/") ? String(path) : "/\(path)")
    }

    private func connect(to target: Target) async throws -> Connection {
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(.seconds(5))
            .connect(host: target.host, port: target.port)
            .flatMapThrowing { channel in
                try channel.pipeline.syncOperations.addHTTPClientHandlers()
                let handler = HTTPExchangeHandler()
                try channel.pipeline.syncOperations.addHandler(handler)
                return Connection(channel: channel, handler: NIOLoopBound(handler, eventLoop: channel.eventLoop))
            }.get()
    }

    private func exchange(_ request: Request, _ path: String, _ target: Target, on connection: Connection) async throws
        -> Int
    {
        var headers = HTTPHeaders(request.headers)
        headers.add(name: "Host", value: "\(target.host):\(target.port)")
        if !request.body.isEmpty || request.method == .POST {
            headers.add(name: "Content-Length", value: String(request.body.count))
        }
        let head = HTTPRequestHead(version: .http1_1, method: request.method, uri: path, headers: headers)
        let promise = connection.channel.eventLoop.makePromise(of: HTTPExchangeHandler.Answer.self)
        let body = request.body
        let timeout = timeout
        connection.channel.eventLoop.execute {
            connection.handler.value.start(head, body, timeout, promise, on: connection.channel)
        }
        let answer = try await promise.futureResult.get()
        if answer.keepAlive { idle.withLock { $0[target, default: []].append(connection) } }
        return answer.status
    }
}

/// `host:port`, `[::1]:port`, or a host alone.
func hostAndPort(_ text: String, defaultPort: Int? = nil) -> (String, Int)? {
    var host = text[...]
    var port = defaultPort
    if let colon = text.lastIndex(of: ":"), !text.hasSuffix("]") {
        host = text[..<colon]
        port = Int(text[text.index(after: colon)...])
    }
    if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
    guard !host.isEmpty, let port, (0...65_535).contains(port) else { return nil }
    return (String(host), port)
}

final class HTTPExchangeHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    struct Answer: Sendable {
        let status: Int
        let keepAlive: Bool
    }

    private var promise: EventLoopPromise<Answer>?
    private var timer: Scheduled<Void>?
    private var head: HTTPResponseHead?

    func start(
        _ head: HTTPRequestHead, _ body: [UInt8], _ timeout: TimeAmount, _ promise: EventLoopPromise<Answer>,
        on channel: any Channel
    ) {
        guard channel.isActive, self.promise == nil else { return promise.fail(ChannelError.ioOnClosedChannel) }
        self.promise = promise
        timer = channel.eventLoop.scheduleTask(in: timeout) { channel.close(promise: nil) }
        let pipeline = channel.pipeline.syncOperations
        pipeline.write(wrapOutboundOut(.head(head)), promise: nil)
        if !body.isEmpty {
            let part = HTTPClientRequestPart.body(.byteBuffer(channel.allocator.buffer(bytes: body)))
            pipeline.write(wrapOutboundOut(part), promise: nil)
        }
        pipeline.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body: break
        case .end:
            guard let head else { return context.close(promise: nil) }
            if !head.isKeepAlive { context.close(promise: nil) }
            finish(.success(Answer(status: Int(head.status.code), keepAlive: head.isKeepAlive)))
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        finish(.failure(ChannelError.ioOnClosedChannel))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        finish(.failure(error))
        context.close(promise: nil)
    }

    private func finish(_ result: Result<Answer, any Error>) {
        timer?.cancel()
        promise?.completeWith(result)
        promise = nil
        head = nil
    }
}
