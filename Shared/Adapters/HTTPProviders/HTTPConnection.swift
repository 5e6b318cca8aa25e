import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// A handle on one open connection that any task may hold.
struct HTTPConnection: Sendable {
    private let channel: any Channel
    private let handler: NIOLoopBound<HTTPExchangeHandler>

    /// - Parameter ended: called once, when the connection that this returned is closed.
    static func open(
        _ endpoint: HTTPEndpoint, on eventLoop: any EventLoop, within limit: Duration, answerTimeout: Duration,
        idleTimeout: Duration, ended: @escaping @Sendable () -> Void
    ) async throws -> HTTPConnection {
        try await ClientBootstrap(group: eventLoop)
            .connectTimeout(TimeAmount(bounding: limit))
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .connect(host: endpoint.host, port: endpoint.port)
            .flatMapThrowing { channel in
                guard channel.isActive else { throw ChannelError.ioOnClosedChannel }
                let handler = HTTPExchangeHandler(answerTimeout: answerTimeout, idleTimeout: idleTimeout)
                let pipeline = channel.pipeline.syncOperations
                if let tls = try endpoint.makeHandler() { try pipeline.addHandler(tls) }
                try pipeline.addHTTPClientHandlers()
                try pipeline.addHandler(handler)
                channel.closeFuture.whenComplete { _ in ended() }
                return HTTPConnection(
                    channel: channel, handler: NIOLoopBound(handler, eventLoop: channel.eventLoop))
            }.get()
    }

    var isActive: Bool { channel.isActive }

    func post(_ request: HTTPRequest, _ patience: HTTPPatience) async -> (HTTPExchange, isReusable: Bool) {
        let result = channel.eventLoop.makePromise(of: HTTPExchangeResult.self)
        channel.eventLoop.execute { handler.value.begin(request, patience, result) }
        do {
            let result = try await result.futureResult.get()
            return (result.exchange, result.isReusable)
        } catch {
            return (.noAnswer(reason: "the event loop stopped: \(error)"), false)
        }
    }

    func close() { channel.close(promise: nil) }
}

struct HTTPExchangeResult: Sendable {
    let exchange: HTTPExchange
    let isReusable: Bool
}

/// One exchange after the other, on the channel's event loop.
final class HTTPExchangeHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private struct Exchange {
        let request: HTTPRequest
        let patience: HTTPPatience
        let result: EventLoopPromise<HTTPExchangeResult>
        /// The last octet was handed to the network, at least perhaps.
        var isEnded = false
        var head: HTTPResponseHead?
        var body: [UInt8] = []
    }

    private let answerTimeout: Duration
    private let idleTimeout: Duration
    private var context: ChannelHandlerContext?
    private var exchange: Exchange?
    private var timer: Scheduled<Void>?
    private var fault: String?
    private var writingFault: String?

    init(answerTimeout: Duration, idleTimeout: Duration) {
        self.answerTimeout = answerTimeout
        self.idleTimeout = idleTimeout
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        settle(reason: fault ?? writingFault ?? "the connection ended")
    }

    // MARK: Writing

    func begin(_ request: HTTPRequest, _ patience: HTTPPatience, _ result: EventLoopPromise<HTTPExchangeResult>) {
        guard let context, context.channel.isActive, exchange == nil, let last = request.body.last else {
            let exchange = HTTPExchange.notSent(reason: fault ?? "the connection ended")
            return result.succeed(HTTPExchangeResult(exchange: exchange, isReusable: false))
        }
        exchange = Exchange(request: request, patience: patience, result: result)
        startTimer(ContinuousClock.now.duration(to: patience.deadline), "the deadline passed before the last octet")
        var head = HTTPRequestHead(version: .http1_1, method: .POST, uri: request.path)
        for header in request.headers { head.headers.add(name: header.name, value: header.value) }
        head.headers.add(name: "Content-Length", value: String(request.body.count))
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        write(request.body.dropLast()) { [self] in
            guard let exchange, !exchange.isEnded, exchange.head == nil else { return }
            guard ContinuousClock.now < exchange.patience.deadline else {
                return end(reason: "the deadline passed before the last octet")
            }
            self.exchange?.isEnded = true
            startTimer(answerTimeout, "no answer in time")
            exchange.patience.beforeEnd()
            write([last]) { exchange.patience.afterEnd() }
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
    }

    private func write(_ octets: ArraySlice<UInt8>, then: @escaping () -> Void) {
        guard let context else { return }
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { [self] result in
            switch result {
            case .success: then()
            case .failure(let error):
                // What closed the connection, such as a certificate, says more and may come a moment later.
                writingFault = writingFault ?? "writing failed: \(HTTPFault.words(for: error))"
                self.context?.close(promise: nil)
            }
        }
        context.writeAndFlush(
            wrapOutboundOut(.body(.byteBuffer(context.channel.allocator.buffer(bytes: octets)))), promise: written)
    }

    // MARK: Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            guard exchange != nil else { return end(reason: "an answer that nothing was asked for") }
            exchange?.head = head
        case .body(let octets):
            guard let length = exchange?.body.count, length + octets.readableBytes <= HTTPClient.answerOctets else {
                return end(reason: "an answer of more than \(HTTPClient.answerOctets) octets")
            }
            exchange?.body += octets.readableBytesView
        case .end: finish()
        }
    }

    private func finish() {
        guard let exchange, let head = exchange.head else { return }
        timer?.cancel()
        self.exchange = nil
        var headers: [String: String] = [:]
        for header in head.headers { headers[header.name.lowercased()] = header.value }
        let answer = HTTPAnswer(status: Int(head.status.code), headers: headers, body: exchange.body)
        // An answer to a request that is not whole leaves the connection in the middle of it.
        let isReusable = head.isKeepAlive && exchange.isEnded
        if isReusable { startTimer(idleTimeout, "unused") } else { context?.close(promise: nil) }
        exchange.result.succeed(HTTPExchangeResult(exchange: .answered(answer), isReusable: isReusable))
    }

    func channelInactive(context: ChannelHandlerContext) {
        settle(reason: fault ?? writingFault ?? "the server closed the connection")
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fault = fault ?? HTTPFault.words(for: error)
        context.close(promise: nil)
    }

    // MARK: Ends

    private func end(reason: String) {
        fault = fault ?? reason
        settle(reason: reason)
        context?.close(promise: nil)
    }

    private func settle(reason: String) {
        timer?.cancel()
        timer = nil
        guard let exchange else { return }
        self.exchange = nil
        exchange.result.succeed(
            HTTPExchangeResult(
                exchange: exchange.isEnded ? .noAnswer(reason: reason) : .notSent(reason: reason), isReusable: false))
    }

    private func startTimer(_ time: Duration, _ reason: String) {
        timer?.cancel()
        timer = context?.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(bounding: time)) { [self] in
            end(reason: reason)
        }
    }
}

/// What went wrong, without the paths and names of libraries.
enum HTTPFault {
    static func words(for error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError:
            return error.connectionErrors.first.map { words(for: $0.error) }
                ?? "\(error.host) has no address that can be found"
        case let error as IOError: return error.description
        case HTTPParserError.invalidEOFState: return "the answer broke off"
        case is HTTPParserError: return "the answer is not HTTP"
        case is NIOSSLExtraError, NIOSSLError.unableToValidateCertificate: return "the certificate is not for this host"
        case NIOSSLError.handshakeFailed(let cause):
            return "\(cause)".contains("CERTIFICATE_VERIFY_FAILED")
                ? "the certificate does not lead to a trusted authority or is out of date" : "the TLS handshake failed"
        case ChannelError.connectTimeout: return "no connection in time"
        default: return "\(error)"
        }
    }
}

extension TimeAmount {
    /// Between a millisecond and a day.
    init(bounding duration: Duration) {
        let (seconds, attoseconds) = min(max(duration, .milliseconds(1)), .seconds(86_400)).components
        self = .nanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
