import Mail
import NIOCore
import NIOSSL
import NIOTLS

/// Monotonic time; a test may let it jump, as it does for a process that was stopped.
typealias SMTPClock = @Sendable () -> ContinuousClock.Instant

/// One message on its way, as the shell sees it.
final class SMTPDelivery: Sendable {
    let message: SMTPSession.Message
    /// Dot-stuffed, without the terminator.
    let body: ArraySlice<UInt8>
    let deadline: ContinuousClock.Instant
    let entered: (@Sendable (SMTPStage) -> Void)?
    let beforeDot: (@Sendable () -> Void)?
    let afterDot: (@Sendable () -> Void)?
    /// Called once, on the event loop.
    let finished: @Sendable (SMTPDeliveryResult) -> Void

    init(
        message: SMTPSession.Message, body: ArraySlice<UInt8>, deadline: ContinuousClock.Instant,
        entered: (@Sendable (SMTPStage) -> Void)?, beforeDot: (@Sendable () -> Void)?,
        afterDot: (@Sendable () -> Void)?, finished: @escaping @Sendable (SMTPDeliveryResult) -> Void
    ) {
        self.message = message
        self.body = body
        self.deadline = deadline
        self.entered = entered
        self.beforeDot = beforeDot
        self.afterDot = afterDot
        self.finished = finished
    }
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
        /// The network took only a part of a text and its dot; another connection should not write them as one.
        case torn
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
    private var limit: Limit?
    private var timer: (fires: NIODeadline, task: Scheduled<Void>)?
    private var connectionError: String?
    /// The longest text that goes out in one write with its dot.
    private var mostJoined = 0
    private let begin: Begin
    /// The channel is the connection, not one to another address of the host that came too late.
    private var isChosen = false
    /// A text that waits for its dot.
    private var text: ByteBuffer?
    private var spare = ByteBuffer()

    /// The octets that the open channel is known to take at once; nil when another connection was faster.
    typealias Begin = (SMTPChannelHandler, any Channel) -> Int?

    /// - Parameters:
    ///   - opened: gets nil when the connection can take messages, else why it cannot.
    ///   - report: called on the event loop; `idle` after each message, `closed` once; never before `begin`.
    ///   - begin: called when the channel is open.
    init(
        configuration: SMTPConfiguration, openDeadline: ContinuousClock.Instant,
        opened: EventLoopPromise<SMTPOutcome?>, now: @escaping SMTPClock, report: @escaping @Sendable (Event) -> Void,
        begin: @escaping Begin
    ) {
        self.configuration = configuration
        self.openDeadline = openDeadline
        self.begin = begin
        self.opened = opened
        self.report = report
        self.now = now
        session = SMTPSession(heloName: configuration.heloName, policy: configuration.policy)
    }

    func deliver(_ delivery: SMTPDelivery) {
        guard self.delivery == nil else {
            let outcome = SMTPOutcome.deferred(nil, stage: .connect, reason: "the connection is in use")
            return delivery.finished(SMTPDeliveryResult(outcome: outcome, isStale: true))
        }
        self.delivery = delivery
        feed(.deliver(delivery.message))
    }

    func quit() {
        feed(.quit)
    }

    // MARK: Channel events

    func channelActive(context: ChannelHandlerContext) {
        guard let mostJoined = begin(self, context.channel) else { return context.close(promise: nil) }
        self.mostJoined = mostJoined
        isChosen = true
        self.context = context
        setLimit()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard isChosen else { return }
        var octets = Array(buffer: unwrapInboundIn(data))[...]
        while !octets.isEmpty, !session.isClosed {
            do {
                guard let reply = try parser.consume(&octets) else { return }
                let isFollowed = !octets.isEmpty
                if isFollowed, session.mustFallSilent { return feed(.malformed(reason: Self.injection)) }
                if isFollowed, session.stage == .data, reply.code == 354 {
                    return feed(.malformed(reason: Self.prematureAnswer))
                }
                feed(.reply(reply))
            } catch {
                return feed(.malformed(reason: error.reason))
            }
        }
    }

    private static let prematureAnswer = "the server answered the text before it was sent"
    private static let injection = "the server sent clear text after its answer to STARTTLS, before the handshake"

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted = event as? TLSUserEvent { feed(.secured) }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        guard isChosen else { return }
        feed(.closed(reason: connectionError ?? "the server closed the connection"))
        timer?.task.cancel()
        timer = nil
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
        if !actions.isEmpty || session.waiting != before || session.stage != stage { setLimit() }
        if session.stage != stage { delivery?.entered?(session.stage) }
        for action in actions { carryOut(action) }
    }

    private func carryOut(_ action: SMTPSession.Action) {
        switch action {
        case .send(let line): write(ByteBuffer(string: line))
        case .startTLS: startTLS()
        case .writeBody: writeBody()
        case .writeDot: writeDot()
        case .opened: opened.succeed(nil)
        case .refused(let outcome): opened.succeed(outcome)
        case .release: report(.idle)
        case .finish(let outcome, let isStale):
            let finished = delivery?.finished
            delivery = nil
            text = nil
            finished?(SMTPDeliveryResult(outcome: outcome, isStale: isStale))
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

    /// A text that the network takes at once waits for its dot, so that both are one write.
    private func writeBody() {
        guard let context, let delivery else { return }
        guard delivery.body.count + DotStuffing.terminator.count <= mostJoined else {
            var buffer = context.channel.allocator.buffer(capacity: delivery.body.count)
            buffer.writeBytes(delivery.body)
            return write(buffer) { [self] isTaken in
                if isTaken { feed(.bodyWritten(inTime: now() < delivery.deadline)) }
            }
        }
        spare.clear(minimumCapacity: delivery.body.count + DotStuffing.terminator.count)
        spare.writeBytes(delivery.body)
        text = spare
        feed(.bodyWritten(inTime: now() < delivery.deadline))
    }

    private func writeDot() {
        guard let delivery else { return }
        delivery.beforeDot?()
        guard var joined = text else {
            return write(ByteBuffer(bytes: DotStuffing.terminator)) { _ in delivery.afterDot?() }
        }
        text = nil
        spare = ByteBuffer()
        joined.writeBytes(DotStuffing.terminator)
        var hasEnded = false
        write(joined) { [self] isTaken in
            hasEnded = true
            if isTaken { delivery.afterDot?() } else { feed(.dotWithheld(reason: connectionError ?? "writing failed")) }
        }
        spare = joined
        guard !hasEnded else { return }
        // The end of the dot is still here, and goes nowhere.
        feed(.dotWithheld(reason: "the network took only a part of the text"))
        report(.torn)
    }

    /// A failed write closes the channel, and the session hears of it there.
    private func write(_ octets: ByteBuffer, then: @escaping (_ isTaken: Bool) -> Void = { _ in }) {
        guard let context else { return }
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { [self] result in
            switch result {
            case .success: then(true)
            case .failure(let error):
                connectionError = connectionError ?? "writing failed: \(error)"
                then(false)
                self.context?.close(promise: nil)
            }
        }
        context.writeAndFlush(wrapOutboundOut(octets), promise: written)
    }

    // MARK: Time

    /// When the wait for what comes next is over. There is no timer for each: one that fires too early looks again.
    private struct Limit {
        let at: NIODeadline
        let reason: String
    }

    private func setLimit() {
        guard let waiting = session.waiting, let loop = context?.eventLoop else {
            limit = nil
            timer?.task.cancel()
            timer = nil
            return
        }
        let (time, reason) = limit(for: waiting)
        let limit = Limit(at: loop.now + TimeAmount(clamping: time), reason: reason)
        self.limit = limit
        if let timer, timer.fires <= limit.at { return }
        startTimer(for: limit)
    }

    /// Fires no later than a kept connection's time, so that becoming idle does not need a new timer.
    private func startTimer(for limit: Limit) {
        guard let context else { return }
        timer?.task.cancel()
        let loop = context.eventLoop
        let fires = min(limit.at, loop.now + TimeAmount(clamping: configuration.idleTimeout))
        let task = loop.assumeIsolated().scheduleTask(deadline: fires) { [self] in
            timer = nil
            guard let limit = self.limit else { return }
            if loop.now < limit.at { startTimer(for: limit) } else { feed(.timedOut(reason: limit.reason)) }
        }
        timer = (fires, task)
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
