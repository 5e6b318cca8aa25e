import Mail
import NIOCore
import NIOPosix
import NIOSSL

/// A handle on one open connection that any task may hold.
struct SMTPConnection: Sendable {
    let id: UInt64
    let eventLoop: any EventLoop
    private let handler: NIOLoopBound<SMTPChannelHandler>

    /// Connects, and waits until the server has greeted and answered EHLO.
    ///
    /// - Parameters:
    ///   - joinsDot: a text and its dot may go out in one write, when the network is sure to take it.
    ///   - register: called on the event loop before anything can be reported about the connection.
    ///   - report: called on the event loop; `closed` once for every registered connection.
    static func open(
        id: UInt64, configuration: SMTPConfiguration, deadline: ContinuousClock.Instant, on eventLoop: any EventLoop,
        joinsDot: Bool, now: @escaping SMTPClock, register: @escaping @Sendable (SMTPConnection) -> Void,
        report: @escaping @Sendable (SMTPChannelHandler.Event) -> Void
    ) async throws -> (connection: SMTPConnection, refusal: SMTPOutcome?) {
        let opened = eventLoop.makePromise(of: SMTPOutcome?.self)
        let winner = NIOLoopBoundBox.makeEmptyBox(valueType: SMTPConnection.self, eventLoop: eventLoop)
        let patience = min(configuration.connectTimeout, now().duration(to: deadline))
        do {
            // The handler is there before the first octet can be. A host with several addresses may get a channel for
            // each; the first that is open is the connection.
            return try await ClientBootstrap(group: eventLoop)
                .connectTimeout(max(TimeAmount(clamping: patience), .milliseconds(1)))
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        if case .implicit(let tls) = configuration.security {
                            try channel.pipeline.syncOperations.addHandler(tls.makeHandler())
                        }
                        let handler = SMTPChannelHandler(
                            configuration: configuration, openDeadline: deadline, opened: opened, now: now,
                            report: report
                        ) { handler, channel in
                            guard winner.value == nil else { return nil }
                            let connection = SMTPConnection(
                                id: id, eventLoop: eventLoop, handler: NIOLoopBound(handler, eventLoop: eventLoop))
                            winner.value = connection
                            register(connection)
                            return joinsDot && configuration.tls == nil ? Self.mostJoined(channel) : 0
                        }
                        try channel.pipeline.syncOperations.addHandler(handler)
                    }
                }
                .connect(host: configuration.host, port: configuration.port)
                .flatMap { _ in opened.futureResult }
                .flatMapThrowing { refusal in
                    guard let connection = winner.value else { throw ChannelError.ioOnClosedChannel }
                    return (connection, refusal)
                }.get()
        } catch {
            opened.succeed(nil)
            throw error
        }
    }

    /// A server that said 354 has taken all that was sent before, so that its socket's buffer is empty; half of it leaves
    /// room for the kernel's bookkeeping.
    private static func mostJoined(_ channel: any Channel) -> Int {
        let option = try? channel.syncOptions?.getOption(.socketOption(.so_sndbuf))
        return min(Int(option ?? 0) / 2, 65_536)
    }

    func deliver(
        _ envelope: SMTPEnvelope, message: [UInt8], body: ArraySlice<UInt8>, deadline: ContinuousClock.Instant,
        entered: (@Sendable (SMTPStage) -> Void)?, beforeDot: (@Sendable () -> Void)?, afterDot: (@Sendable () -> Void)?
    ) async -> SMTPDeliveryResult {
        let text = SMTPSession.Message(envelope: envelope, message: message)
        return await withCheckedContinuation { continuation in
            let delivery = SMTPDelivery(
                message: text, body: body, deadline: deadline, entered: entered, beforeDot: beforeDot,
                afterDot: afterDot, finished: { continuation.resume(returning: $0) })
            if eventLoop.inEventLoop {
                handler.value.deliver(delivery)
            } else {
                eventLoop.execute { handler.value.deliver(delivery) }
            }
        }
    }

    func quit() {
        eventLoop.execute { handler.value.quit() }
    }
}
