import Delivery
import Mail
import SMTP

/// How one attempt ended, to be written to its row.
struct Settlement: Sendable, Equatable {
    static let replyMaxOctets = 512

    /// What a sender itself can say of an attempt that it began.
    static let events: [AttemptEvent] = [.accepted, .rejected, .deferred, .expired, .putBack, .withdrawn, .doubted]

    let delivery: DeliveryID
    let attempt: Int32
    let event: AttemptEvent
    let fact: DeliveryFact?
    let retryAfter: Duration?
    let code: Int32?
    let enhancedCode: String?
    let reply: String
    /// The token of the WIRE call that is taken back; nil for what the relay said.
    let token: LeaseToken?
    /// `smtp`, `ses` or `sms`; nil when nobody was asked.
    var provider: String?
    /// Whose slot the attempt holds.
    var channel = Channel.email

    /// What the attempt becomes if it may still change.
    var state: AttemptState { AttemptMachine.result(of: event)?.to.state ?? .wire }

    /// The pause before what was provably not sent, for a reason that is not the recipient's, is tried again.
    static let requeuePause = Duration.seconds(2)

    /// - Parameter deferrals: temporary refusals of this delivery before this attempt.
    init(
        _ outcome: SMTPOutcome, delivery: DeliveryID, attempt: Int32, deferrals: Int, schedule: RetrySchedule
    ) {
        func settled(
            _ event: AttemptEvent, _ fact: DeliveryFact?, after pause: Duration? = nil, _ reply: SMTPReply?,
            _ reason: String = ""
        ) -> Settlement {
            Settlement(
                delivery: delivery, attempt: attempt, event: event, fact: fact, retryAfter: pause,
                code: reply.map { Int32($0.code) }, enhancedCode: reply?.enhanced?.description,
                reply: Self.cut(reply?.description ?? reason), token: nil)
        }
        switch outcome {
        case .accepted(let reply): self = settled(.accepted, .sent, reply)
        case .rejected(let reply, let stage):
            if stage.isBeforeEnvelope {
                // The relay refuses us, whoever the recipient is.
                self = settled(.putBack, nil, after: Self.requeuePause, reply)
            } else if reply.isLocal || stage == .mail {
                // About the message or our own address: no news about the recipient's.
                self = settled(.rejected, .notSent, reply)
            } else {
                let isAddressFault = ReplyVerdict(reply, at: stage).isAddressFault
                self = settled(.rejected, isAddressFault ? .bouncedInvalid : .bounced, reply)
            }
        case .deferred(let reply, let stage, let reason):
            if stage.isBeforeEnvelope {
                self = settled(.putBack, nil, after: Self.requeuePause, reply, reason)
            } else if let pause = schedule.pause(afterDeferrals: deferrals) {
                self = settled(.deferred, .deferred, after: pause, reply, reason)
            } else {
                self = settled(.expired, .expired, reply, reason)
            }
        case .inDoubt(let reason): self = settled(.doubted, .inDoubt, nil, reason)
        }
    }

    /// For a message that was put on the wire list under `token` and is known never to have been offered to the server.
    /// What another sender wrote for the same attempt is none of this one's business.
    init(withdrawn delivery: DeliveryID, attempt: Int32, token: LeaseToken, reason: String) {
        self.init(
            delivery: delivery, attempt: attempt, event: .withdrawn, fact: nil, retryAfter: .zero, code: nil,
            enhancedCode: nil, reply: Self.cut(reason), token: token)
    }

    private init(
        delivery: DeliveryID, attempt: Int32, event: AttemptEvent, fact: DeliveryFact?, retryAfter: Duration?,
        code: Int32?, enhancedCode: String?, reply: String, token: LeaseToken?
    ) {
        self.delivery = delivery
        self.attempt = attempt
        self.event = event
        self.fact = fact
        self.retryAfter = retryAfter
        self.code = code
        self.enhancedCode = enhancedCode
        self.reply = reply
        self.token = token
    }

    /// At most `replyMaxOctets` and without NUL, which a database cannot hold.
    private static func cut(_ text: String) -> String {
        var kept = String.UnicodeScalarView()
        var octets = 0
        for scalar in text.unicodeScalars where scalar != "\0" {
            octets += UTF8.width(scalar)
            guard octets <= replyMaxOctets else { break }
            kept.append(scalar)
        }
        return String(kept)
    }
}

extension SMTPStage {
    /// Nothing about the message or its recipient has been said yet.
    var isBeforeEnvelope: Bool {
        switch self {
        case .connect, .greeting, .hello, .tls, .auth: true
        case .mail, .recipient, .data, .body, .dot: false
        }
    }
}
