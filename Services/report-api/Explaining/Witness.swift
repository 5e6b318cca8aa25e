import Delivery

/// Who said what decided a status.
enum Witness: String, Sendable, CaseIterable {
    /// The list that was sent, before anything happened.
    case list
    /// Our own check of the list before sending.
    case guardCheck = "guard"
    /// The sender itself: what no server said.
    case sender
    /// The mail server that took the message, or refused it, at the hand-over.
    case outgoingServer = "outgoing_server"
    /// The mail server of the recipient's domain, as the mail service reported.
    case receivingServer = "receiving_server"
    /// The mail service itself.
    case provider
    /// The recipient, or whoever reads their mail.
    case family
    /// A program that reads mail.
    case program

    /// - Parameter record: nil when nothing is known beyond the fact.
    init(_ fact: DeliveryFact, _ record: DeliveryHistory.Record?) {
        switch fact {
        case .pending, .validating: self = .list
        case .noAddress, .consentDenied, .notSelected, .skipped, .duplicate, .blockedBounce, .blockedComplaint,
            .blockedInvalid, .invalid:
            self = Self.isSender(record) ? .sender : .guardCheck
        case .cancelled, .inDoubt, .unknown, .expired, .unconfirmed: self = .sender
        case .notSent, .sent, .deferred: self = Self.isSender(record) || record == nil ? .outgoingServer : .provider
        case .bounced, .bouncedInvalid, .delayed: self = Self.isSender(record) ? .outgoingServer : .receivingServer
        case .delivered: self = .receivingServer
        case .opened, .clicked, .acknowledged, .responded, .optedOut, .complained: self = .family
        case .machineOpen, .machineClick, .autoresponded: self = .program
        }
    }

    private static func isSender(_ record: DeliveryHistory.Record?) -> Bool {
        record?.source.hasSuffix("/sender") == true
    }

    /// Fits after "Who said so:".
    func words(_ fact: DeliveryFact, domain: String?) -> String {
        let theirs = domain.map { "the mail server of \($0)" } ?? "the recipient's mail server"
        switch self {
        case .list: return "the list of recipients"
        case .guardCheck: return "our own check of the list, before anything was sent"
        case .sender: return "our own sender"
        case .outgoingServer:
            return fact == .sent
                ? "the mail server that took the message from us"
                : "the mail server that we gave the message to, for \(domain ?? "the recipient")"
        case .receivingServer: return "\(theirs), as the mail service reported"
        case .provider: return "the mail service that sends for us"
        case .family: return Self.family(fact, domain)
        case .program:
            return fact == .autoresponded
                ? "an automatic reply from the mailbox"
                : "a program that reads mail\(domain.map { " at \($0)" } ?? ""), not a person"
        }
    }

    private static func family(_ fact: DeliveryFact, _ domain: String?) -> String {
        switch fact {
        case .opened: "the family's mail program, which loaded the pictures of the message"
        case .complained:
            "the family's mail provider\(domain.map { ", \($0)" } ?? ""): somebody pressed its spam button"
        default: "the family's own click"
        }
    }
}
