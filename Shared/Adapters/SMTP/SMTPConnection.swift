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
    ///   - register: called on the event loop before anything can be reported about the connection.
    ///   - report: called on the event loop; `closed` once for every registered connection.
    static func open(
        id: UInt64, configuration: SMTPConfiguration, deadline: ContinuousClock.Instant, on eventLoop: any EventLoop,
        now: @escaping SMTPClock, register: @escaping @Sendable (SMTPConnection) -> Void,
        report: @escaping @Sendable (SMTPChannelHandler.Event) -> Void
    ) async throws -> (connection: SMTPConnection, refusal: SMTPOutcome?) {
        let opened = eventLoop.makePromise(of: SMTPOutcome?.self)
        let patience = min(configuration.connectTimeout, now().duration(to: deadline))
        do {
            // Reading starts once the handler is in place; it joins only the one channel that won the connect.
            let (channel, connection) = try await ClientBootstrap(group: eventLoop)
                .connectTimeout(max(TimeAmount(clamping: patience), .milliseconds(1)))
                .channelOption(.autoRead, value: false)
                .connect(host: configuration.host, port: configuration.port)
                .flatMapThrowing { channel in
                    guard channel.isActive else { throw ChannelError.ioOnClosedChannel }
                    let handler = SMTPChannelHandler(
                        configuration: configuration, openDeadline: deadline, opened: opened, now: now,
                        report: report)
                    let connection = SMTPConnection(
                        id: id, eventLoop: channel.eventLoop,
                        handler: NIOLoopBound(handler, eventLoop: channel.eventLoop))
                    if case .implicit(let tls) = configuration.security {
                        try channel.pipeline.syncOperations.addHandler(tls.makeHandler())
                    }
                    try channel.pipeline.syncOperations.addHandler(handler)
                    register(connection)
                    return (channel, connection)
                }.get()
            // Fails only if the channel has closed meanwhile, which the handler reports.
            _ = try? await channel.setOption(.autoRead, value: true).get()
            return (connection, try await opened.futureResult.get())
        } catch {
            opened.succeed(nil)
            throw error
        }
    }

    func deliver(
        _ envelope: SMTPEnvelope, message: [UInt8], body: [UInt8], deadline: ContinuousClock.Instant,
        entered: (@Sendable (SMTPStage) -> Void)?, beforeDot: (@Sendable () -> Void)?, afterDot: (@Sendable () -> Void)?
    ) async -> SMTPDeliveryResult {
        let delivery = SMTPDelivery(
            message: SMTPSession.Message(envelope: envelope, message: message), body: body, deadline: deadline,
            entered: entered, beforeDot: beforeDot, afterDot: afterDot,
            result: eventLoop.makePromise(of: SMTPDeliveryResult.self))
        eventLoop.execute { handler.value.deliver(delivery) }
        do {
            return try await delivery.result.futureResult.get()
        } catch {
            return SMTPDeliveryResult(outcome: .inDoubt(reason: "the event loop stopped: \(error)"), isStale: false)
        }
    }

    func quit() {
        eventLoop.execute { handler.value.quit() }
    }
}
