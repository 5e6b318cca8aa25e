/// What a server's reply to a delivery attempt means.
public enum ReplyVerdict: Equatable, Sendable {
    public enum RejectionCause: String, Sendable {
        /// The address itself is at fault: no such mailbox, domain or syntax, or the mailbox is switched off.
        case mailboxInvalid
        /// Policy, content, size, a full mailbox, a fault of ours, or anything not stated.
        case other
    }

    case accepted
    /// Refused for now (4xx), or a code that is no answer: worth another attempt.
    case deferred
    case rejected(cause: RejectionCause)

    /// The enhanced code decides where there is one: 5.1.x except 5.1.5 (valid) and 5.1.7, 5.1.8 and 5.1.9 (which are
    /// about our own address), and 5.2.1 (mailbox disabled). Without one, 550, 551 and 553 name the mailbox only in
    /// answer to `RCPT`; elsewhere they are used for policy.
    public init(_ reply: SMTPReply, at stage: SMTPStage) {
        switch reply.code / 100 {
        case 2: self = .accepted
        case 5: self = .rejected(cause: Self.cause(of: reply, at: stage))
        default: self = .deferred
        }
    }

    /// True when the address should not be tried again in any blast.
    public var isAddressFault: Bool { self == .rejected(cause: .mailboxInvalid) }

    private static func cause(of reply: SMTPReply, at stage: SMTPStage) -> RejectionCause {
        guard let enhanced = reply.enhanced else {
            return stage == .recipient && [550, 551, 553].contains(reply.code) ? .mailboxInvalid : .other
        }
        switch (enhanced.subject, enhanced.detail) {
        case (1, 5), (1, 7), (1, 8), (1, 9): return .other
        case (1, _), (2, 1): return .mailboxInvalid
        default: return .other
        }
    }
}
