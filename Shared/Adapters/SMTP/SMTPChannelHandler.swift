import Mail
import NIOCore
import NIOSSL
import NIOTLS

/// Monotonic time; a test may let it jump, as it does for a process that was stopped.
typealias SMTPClock = @Sendable () -> ContinuousClock.Instant

/// One message on its way, as the shell sees it.
struct SMTPDelivery: Sendable {
    let message: SMTPSession.Message
    /// Dot-stuffed, without the terminator.
    let body: [UInt8]
    let deadline: ContinuousClock.Instant
    let entered: (@Sendable (SMTPStage) -> Void)?
    let beforeDot: (@Sendable () -> Void)?
    let afterDot: (@Sendable () -> Void)?
    let result: EventLoopPromise<SMTPDeliveryResult>
}

struct SMTPDeliveryResult: Sendable {
    let outcome: SMTPOutcome
    let isStale: Bool
}

/// Carries out what `SMTPSession` asks for, on the channel's event loop.
final class SMTPChannelHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Event: Sendable {
        case idle, closed
    }

    private let configuration: SMTPConfiguration
    private let openDeadline: ContinuousClock.Instant
    private let opened: EventLoopPromise<SMTPOutcome?>
    private let report: @Sendable (Event) -> Void
    private let now: SMTPClock

    private var session: SMTPSession
    private var parser = SMTPReplyParser()
    private var context: ChannelHandlerContext?
    private var delivery: SMTPDelivery?
    private var timer: Scheduled<Void>?
    private var connectionError: String?

    /// - Parameters:
    ///   - opened: gets nil when the connection can take messages, else why it cannot.
    ///   - report: called on the event loop; `idle` after each message, `closed` once.
    init(
        configuration: SMTPConfiguration, openDeadline: ContinuousClock.Instant,
        opened: EventLoopPromise<SMTPOutcome?>, now: @escaping SMTPClock, report: @escaping @Sendable (Event) -> Void
    ) {
        self.configuration = configuration
        self.openDeadline = openDeadline
        self.opened = opened
        self.report = report
        self.now = now
        session = SMTPSession(heloName: configuration.heloName, policy: configuration.policy)
    }

    func deliver(_ delivery: SMTPDelivery) {
        guard self.delivery == nil else {
            let outcome = SMTPOutcome.deferred(nil, stage: .connect, reason: "the connection is in use")
            return delivery.result.succeed(SMTPDeliveryResult(outcome: outcome, isStale: true))
        }
        self.delivery = delivery
        feed(.deliver(delivery.message))
    }

    func quit() {
        feed(.quit)
    }

    // MARK: Channel events

    /// The handler joins an open channel, so there is no `channelActive` to wait for.
    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        startTimer()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let octets = unwrapInboundIn(data).readableBytesView
        for (index, octet) in zip(octets.indices, octets) where !session.isClosed {
            do {
                guard let reply = try parser.consume(octet) else { continue }
                let isFollowed = index + 1 < octets.endIndex
                feed(session.mustFallSilent && isFollowed ? .malformed(reason: Self.injection) : .reply(reply))
            } catch {
                feed(.malformed(reason: error.reason))
            }
        }
    }

    private static let injection = "the server sent clear text after its answer to STARTTLS, before the handshake"

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted = event as? TLSUserEvent { feed(.secured) }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        feed(.closed(reason: connectionError ?? "the server closed the connection"))
        timer?.cancel()
        report(.closed)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let fault = SMTPTLS.reason(for: error, host: configuration.tls?.serverName ?? configuration.host)
        connectionError = connectionError ?? fault ?? "the connection failed: \(error)"
        context.close(promise: nil)
    }

    // MARK: Actions

    private func feed(_ input: SMTPSession.Input) {
        let before = session.waiting
        let stage = session.stage
        let actions = session.handle(input)
        if !actions.isEmpty || session.waiting != before { startTimer() }
        if session.stage != stage { delivery?.entered?(session.stage) }
        for action in actions { carryOut(action) }
    }

    private func carryOut(_ action: SMTPSession.Action) {
        switch action {
        case .send(let line): write(Array(line.utf8)) { _ in }
        case .startTLS: startTLS()
        case .writeBody: writeBody()
        case .writeDot: writeDot()
        case .opened: opened.succeed(nil)
        case .refused(let outcome): opened.succeed(outcome)
        case .release: report(.idle)
        case .finish(let outcome, let isStale):
            let result = delivery?.result
            delivery = nil
            result?.succeed(SMTPDeliveryResult(outcome: outcome, isStale: isStale))
        case .close: context?.close(promise: nil)
        }
    }

    private func startTLS() {
        guard let context, let tls = configuration.tls else { return feed(.malformed(reason: "no TLS is set up")) }
        do {
            try context.pipeline.syncOperations.addHandler(tls.makeHandler(), position: .first)
        } catch {
            feed(.malformed(reason: "TLS cannot begin: \(error)"))
        }
    }

    private func writeBody() {
        guard let delivery else { return }
        write(delivery.body) { [self] result in
            guard case .success = result else { return }
            feed(.bodyWritten(inTime: now() < delivery.deadline))
        }
    }

    private func writeDot() {
        guard let delivery else { return }
        delivery.beforeDot?()
        write(DotStuffing.terminator) { _ in delivery.afterDot?() }
    }

    /// A failed write closes the channel, and the session hears of it there.
    private func write(_ octets: [UInt8], then: @escaping (Result<Void, any Error>) -> Void) {
        guard let context else { return }
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { [self] result in
            if case .failure(let error) = result {
                connectionError = connectionError ?? "writing failed: \(error)"
                self.context?.close(promise: nil)
            }
            then(result)
        }
        context.writeAndFlush(wrapOutboundOut(context.channel.allocator.buffer(bytes: octets)), promise: written)
    }

    // MARK: Time

    private func startTimer() {
        timer?.cancel()
        timer = nil
        guard let context, let waiting = session.waiting else { return }
        let (time, reason) = limit(for: waiting)
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(clamping: time)) { [self] in
            feed(.timedOut(reason: reason))
        }
    }

    private func limit(for waiting: SMTPSession.Waiting) -> (Duration, String) {
        switch waiting {
        case .dotReply: return (configuration.dotReplyTimeout, "no reply to the final dot in time")
        case .reset: return (.seconds(10), "no reply in time")
        case .idle: return (configuration.idleTimeout, "unused")
        case .command:
            let left = now().duration(to: delivery?.deadline ?? openDeadline)
            guard left < configuration.commandTimeout else { return (configuration.commandTimeout, "no reply in time") }
            return (left, "the deadline passed before the final dot")
        }
    }
}

extension TimeAmount {
    /// Between nothing and one day.
    init(clamping duration: Duration) {
        let bounded = min(max(duration, .zero), .seconds(86_400))
        let (seconds, attoseconds) = bounded.components
        self = .nanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
