import Delivery
import Mail
import Runtime
import SMTP

/// One message that WIRE let through. A reference, since it passes through many hands.
final class WiredMessage: Sendable {
    let delivery: DeliveryID
    let district: DistrictID
    let attempt: Int32
    /// Temporary refusals of this delivery before this attempt.
    let deferrals: Int
    let message: ComposedMessage
    /// Taken before WIRE, so that it is never later than the row's time.
    let wiredAt: ContinuousClock.Instant
    /// The row's time.
    let wireAtMicroseconds: Int64

    init(
        delivery: DeliveryID, district: DistrictID, attempt: Int32, deferrals: Int, message: ComposedMessage,
        wiredAt: ContinuousClock.Instant, wireAtMicroseconds: Int64
    ) {
        self.delivery = delivery
        self.district = district
        self.attempt = attempt
        self.deferrals = deferrals
        self.message = message
        self.wiredAt = wiredAt
        self.wireAtMicroseconds = wireAtMicroseconds
    }
}

/// Hands messages to the relays and sees their outcomes written.
struct HandOver: Sendable {
    let relays: Relays
    let writer: OutcomeWriter
    let schedule: RetrySchedule
    let dotDeadline: Duration
    let rates: SendRates
    let metrics: SenderMetrics
    /// Where hand-overs run; nil for wherever there is room. Large messages are kept away, because all conversations
    /// with relays share it.
    var executor: EventLoopExecutor?
    private static let largeOctets = 256 * 1024

    /// Begins in a task of its own: a server may take ten minutes to answer the final dot, and a stopping process does
    /// not wait that long. The slot that the message holds counts it.
    func begin(_ wired: WiredMessage) {
        let isLarge = wired.message.octets.count > Self.largeOctets
        Task(executorPreference: isLarge ? nil : executor) { await run(wired) }
    }

    private static func reach(_ stage: SMTPStage) {
        switch stage {
        case .recipient: FaultPoint.reach("sender.after-mail")
        case .data: FaultPoint.reach("sender.after-rcpt")
        case .body: FaultPoint.reach("sender.in-data")
        default: break
        }
    }

    private func run(_ wired: WiredMessage) async {
        let deadline = wired.wiredAt + dotDeadline
        let (outcome, provider) = await relays.deliver(
            wired.message, deadline: deadline, entered: Self.reach,
            beforeDot: { FaultPoint.reach("sender.before-dot") }, afterDot: { FaultPoint.reach("sender.after-dot") })
        FaultPoint.reach("sender.after-reply")
        var settlement = Settlement(
            outcome, delivery: wired.delivery, attempt: wired.attempt, deferrals: wired.deferrals,
            schedule: schedule)
        settlement.provider = provider
        settlement.channel = wired.message.channel
        rates.sawOutcome(
            of: SendRates.domain(of: wired.message.envelope.recipient),
            isRefusedForNow: settlement.asksForLess && !outcome.isRelayAskingForLess)
        writer.settle(settlement, of: wired) { [metrics, state = settlement.state] in
            metrics.settled(state)
            metrics.wireTime.observe(wired.wiredAt.duration(to: .now))
        }
    }
}
