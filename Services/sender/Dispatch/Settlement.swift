import Delivery
import Mail
import SMTP

/// The state of an attempt as its row says it.
enum AttemptState: String, Sendable {
    case wire, accepted, rejected, deferred, unknown, resend, stopped, requeued
    case inDoubt = "in_doubt"
    case resolvedSent = "resolved_sent"
    case timedOut = "timed_out"
}

/// How one attempt ended, to be written to its row.
struct Settlement: Sendable, Equatable {
    static let replyMaxOctets = 512

    let delivery: DeliveryID
    let attempt: Int32
    let state: AttemptState
    let fact: DeliveryFact?
    let retryAfter: Duration?
    let code: Int32?
    let enhancedCode: String?
    let reply: String
    /// The token of the WIRE call that is taken back; nil for what the relay said.
    let token: LeaseToken?

    /// The pause before what was provably not sent, for a reason that is not the recipient's, is tried again.
    static let requeuePause = Duration.seconds(2)

    /// - Parameter deferrals: temporary refusals of this delivery before this attempt.
    init(
        _ outcome: SMTPOutcome, delivery: DeliveryID, attempt: Int32, deferrals: Int, schedule: RetrySchedule
    ) {
        func settled(
            _ state: AttemptState, _ fact: DeliveryFact?, after pause: Duration? = nil, _ reply: SMTPReply?,
            _ reason: String = ""
        ) -> Settlement {
            Settlement(
                delivery: delivery, attempt: attempt, state: state, fact: fact, retryAfter: pause,
                code: reply.map { Int32($0.code) }, enhancedCode: reply?.enhanced?.description,
                reply: Self.cut(reply?.description ?? reason), token: nil)
        }
        switch outcome {
        case .accepted(let reply): self = settled(.accepted, .sent, reply)
        case .rejected(let reply, let stage):
            if stage.isBeforeEnvelope {
                // The relay refuses us, whoever the recipient is.
                self = settled(.requeued, nil, after: Self.requeuePause, reply)
            } else if reply.isLocal || stage == .mail {
                // About the message or our own address: no news about the recipient's.
                self = settled(.rejected, .notSent, reply)
            } else {
                let isAddressFault = ReplyVerdict(reply, at: stage).isAddressFault
                self = settled(.rejected, isAddressFault ? .bouncedInvalid : .bounced, reply)
            }
        case .deferred(let reply, let stage, let reason):
            if stage.isBeforeEnvelope {
                self = settled(.requeued, nil, after: Self.requeuePause, reply, reason)
            } else if let pause = schedule.pause(afterDeferrals: deferrals) {
                self = settled(.deferred, .deferred, after: pause, reply, reason)
            } else {
                self = settled(.deferred, .expired, reply, reason)
            }
        case .inDoubt(let reason): self = settled(.inDoubt, .inDoubt, nil, reason)
        }
    }

    /// For a message that was put on the wire list under `token` and is known never to have been offered to the server.
    /// What another sender wrote for the same attempt is none of this one's business.
    init(withdrawn delivery: DeliveryID, attempt: Int32, token: LeaseToken, reason: String) {
        self.init(
            delivery: delivery, attempt: attempt, state: .requeued, fact: nil, retryAfter: .zero, code: nil,
            enhancedCode: nil, reply: Self.cut(reason), token: token)
    }

    private init(
        delivery: DeliveryID, attempt: Int32, state: AttemptState, fact: DeliveryFact?, retryAfter: Duration?,
        code: Int32?, enhancedCode: String?, reply: String, token: LeaseToken?
    ) {
        self.delivery = delivery
        self.attempt = attempt
        self.state = state
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
