/// One observed thing about one delivery (one recipient address of one blast).
///
/// The raw value is the fact's bit number. Bits are frozen: they are stored in tables, published on topics and
/// computed with by consumers in other languages. They stand in rank order, with gaps for later facts, all below 53
/// so that every JSON reader keeps a set of facts exact. Their table is in `Shared/Requirements.md`.
public enum DeliveryFact: UInt8, CaseIterable, Sendable {
    case pending = 0
    case validating = 2
    case deferred = 4
    case noAddress = 6
    case consentDenied = 7
    case notSelected = 8
    case skipped = 9
    case duplicate = 10
    case blockedBounce = 11
    case blockedComplaint = 12
    case blockedInvalid = 13
    case invalid = 14
    case cancelled = 16
    case inDoubt = 18
    case unknown = 19
    case sent = 20
    case delayed = 22
    case notSent = 24
    case expired = 25
    case bounced = 26
    case bouncedInvalid = 27
    case delivered = 30
    case opened = 34
    case clicked = 36
    case acknowledged = 38
    case responded = 40
    case optedOut = 42
    case complained = 44
    case machineOpen = 46
    case machineClick = 47
    case autoresponded = 48
    case unconfirmed = 49

    /// The fact's published name: stable, lower snake case, used on topics, in the API and in SQL.
    public var name: String {
        switch self {
        case .pending: "pending"
        case .validating: "validating"
        case .deferred: "deferred"
        case .noAddress: "no_address"
        case .consentDenied: "consent_denied"
        case .notSelected: "not_selected"
        case .skipped: "skipped"
        case .duplicate: "duplicate"
        case .blockedBounce: "blocked_bounce"
        case .blockedComplaint: "blocked_complaint"
        case .blockedInvalid: "blocked_invalid"
        case .invalid: "invalid"
        case .cancelled: "cancelled"
        case .inDoubt: "in_doubt"
        case .unknown: "unknown"
        case .sent: "sent"
        case .delayed: "delayed"
        case .notSent: "not_sent"
        case .expired: "expired"
        case .bounced: "bounced"
        case .bouncedInvalid: "bounced_invalid"
        case .delivered: "delivered"
        case .opened: "opened"
        case .clicked: "clicked"
        case .acknowledged: "acknowledged"
        case .responded: "responded"
        case .optedOut: "opted_out"
        case .complained: "complained"
        case .machineOpen: "machine_open"
        case .machineClick: "machine_click"
        case .autoresponded: "autoresponded"
        case .unconfirmed: "unconfirmed"
        }
    }

    public init?(name: String) {
        guard let fact = Self.byName[name] else { return nil }
        self = fact
    }

    private static let byName = Dictionary(uniqueKeysWithValues: allCases.map { ($0.name, $0) })
}
