import Delivery
import Mail
import SMTP

@testable import sender

/// SMTP outcomes as tests name them.
enum SettledOutcome: CaseIterable {
    case accepted, rejected, deferred, expired, inDoubt, putBack, withdrawn

    func settlement(_ delivery: DeliveryID, _ attempt: Int32, _ token: LeaseToken) -> Settlement {
        let schedule = RetrySchedule(delays: self == .expired ? [] : [.seconds(60)])
        let outcome: SMTPOutcome
        switch self {
        case .accepted: outcome = .accepted(SMTPReply(code: 250, lines: ["2.0.0 Ok"]))
        case .rejected: outcome = .rejected(SMTPReply(code: 550, lines: ["5.1.1 No such user"]), stage: .recipient)
        case .deferred, .expired:
            outcome = .deferred(SMTPReply(code: 452, lines: ["4.2.2 Full"]), stage: .recipient, reason: "")
        case .inDoubt: outcome = .inDoubt(reason: "the connection ended after the final dot")
        case .putBack: outcome = .deferred(nil, stage: .connect, reason: "refused")
        case .withdrawn: return Settlement(withdrawn: delivery, attempt: attempt, token: token, reason: "not begun")
        }
        return Settlement(outcome, delivery: delivery, attempt: attempt, deferrals: 0, schedule: schedule)
    }
}
