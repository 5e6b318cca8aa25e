import HTTPProviders
import Mail
import NIOCore
import Runtime
import SMTP

/// How a recipient is reached.
enum Channel: String, Sendable, CaseIterable {
    case email, sms

    /// Stored addresses tell by themselves: a telephone number in E.164 has a plus sign and no at sign.
    init(address: String) {
        let isNumber =
            address.utf8.first == UInt8(ascii: "+")
            && address.utf8.dropFirst().allSatisfy { (0x30...0x39).contains($0) }
        self = isNumber ? .sms : .email
    }
}

/// One way out: an SMTP relay, or a service with an API of its own.
///
/// Whatever it is, its answer comes in SMTP's terms, and doubt stays doubt.
protocol Provider: Sendable {
    /// As the row of an attempt says it.
    var kind: String { get }
    var openConnections: Int { get }

    /// - Parameters:
    ///   - deadline: after it, the last octet is not written any more.
    ///   - beforeDot: called immediately before the point of no return; must not block.
    func deliver(
        _ message: ComposedMessage, deadline: ContinuousClock.Instant, entered: (@Sendable (SMTPStage) -> Void)?,
        beforeDot: @escaping @Sendable () -> Void, afterDot: @escaping @Sendable () -> Void
    ) async -> SMTPOutcome

    func close() async
}

extension SMTPConnectionPool: Provider {
    var kind: String { "smtp" }

    func deliver(
        _ message: ComposedMessage, deadline: ContinuousClock.Instant, entered: (@Sendable (SMTPStage) -> Void)?,
        beforeDot: @escaping @Sendable () -> Void, afterDot: @escaping @Sendable () -> Void
    ) async -> SMTPOutcome {
        await deliver(
            message.envelope, message: message.octets, dotDeadline: deadline, entered: entered, beforeDot: beforeDot,
            afterDot: afterDot)
    }
}

extension SimpleEmailService: Provider {
    var kind: String { "ses" }

    func deliver(
        _ message: ComposedMessage, deadline: ContinuousClock.Instant, entered: (@Sendable (SMTPStage) -> Void)?,
        beforeDot: @escaping @Sendable () -> Void, afterDot: @escaping @Sendable () -> Void
    ) async -> SMTPOutcome {
        let outcome = await send(
            Message(
                from: message.from, returnPath: message.envelope.sender, recipient: message.envelope.recipient,
                tag: message.tag, octets: message.octets), deadline: deadline, beforeEnd: beforeDot,
            afterEnd: afterDot)
        return SMTPOutcome(outcome)
    }
}

extension TextMessageService: Provider {
    var kind: String { "sms" }

    func deliver(
        _ message: ComposedMessage, deadline: ContinuousClock.Instant, entered: (@Sendable (SMTPStage) -> Void)?,
        beforeDot: @escaping @Sendable () -> Void, afterDot: @escaping @Sendable () -> Void
    ) async -> SMTPOutcome {
        let outcome = await send(
            String(decoding: message.octets, as: UTF8.self), to: message.envelope.recipient, deadline: deadline,
            beforeEnd: beforeDot, afterEnd: afterDot)
        return SMTPOutcome(outcome)
    }
}

extension SMTPOutcome {
    init(_ outcome: ProviderOutcome) {
        switch outcome {
        case .accepted(let reply): self = .accepted(reply)
        case .rejected(let reply, let isAboutRecipient):
            self = .rejected(reply, stage: isAboutRecipient ? .recipient : .mail)
        case .deferred(let reply): self = .deferred(reply, stage: .mail, reason: reply.description)
        case .refusesUs(let reason): self = .deferred(nil, stage: .auth, reason: reason)
        case .notSent(let reason): self = .deferred(nil, stage: .connect, reason: reason)
        case .inDoubt(let reason): self = .inDoubt(reason: reason)
        }
    }
}

/// One way out with what the settings say about it.
struct Way: Sendable {
    /// For logs and metrics; unique.
    let name: String
    let weight: Int
    let connections: Int
    let channel: Channel
    let provider: any Provider

    init(_ relay: RelayConfiguration, eventLoopGroup: any EventLoopGroup) {
        name = relay.name
        weight = relay.weight
        connections = relay.smtp.maxConnections
        channel = .email
        provider = SMTPConnectionPool(relay.smtp, eventLoopGroup: eventLoopGroup)
    }

    init(ses: SESRelay, eventLoopGroup: any EventLoopGroup) {
        name = "ses"
        weight = ses.weight
        connections = ses.configuration.connections
        channel = .email
        provider = SimpleEmailService(
            ses.configuration, eventLoopGroup: eventLoopGroup,
            unixSeconds: { WallClock.nowMicroseconds() / 1_000_000 })
    }

    init(sms: TextMessageService.Configuration, eventLoopGroup: any EventLoopGroup) {
        name = "sms"
        weight = 1
        connections = sms.connections
        channel = .sms
        provider = TextMessageService(sms, eventLoopGroup: eventLoopGroup)
    }
}
