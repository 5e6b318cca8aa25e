/// What the mailbox behind an address does, told by the letters its local part begins with.
enum Behaviour: String, CaseIterable, Sendable {
    case success, bounce, block, soft, softforever, asyncbounce, complaint, open, click, scanner, unsub, dropbefore
    case dropafter, slow, delayed, silent, latebounce

    /// `Bounce12+x@a.example` bounces; words that are no behaviour succeed.
    init(recipient: String) {
        let word = recipient.lowercased().prefix { $0.isASCII && $0.isLetter }
        self = Behaviour(rawValue: String(word)) ?? .success
    }

    /// What happens after the message was accepted, in milliseconds from then.
    func followUps(_ delays: Delays) -> [FollowUp] {
        let delivered = FollowUp(after: delays.event, act: .event(.delivered))
        let bounced = Act.event(
            .bounced, code: 550, enhanced: "5.1.1", detail: "the mailbox does not exist (found after acceptance)")
        return switch self {
        case .bounce, .block, .softforever, .silent: []
        case .success, .soft, .dropbefore, .dropafter, .slow: [delivered]
        case .asyncbounce: [FollowUp(after: delays.bounce, act: bounced)]
        case .latebounce: [delivered, FollowUp(after: delays.event + delays.bounce, act: bounced)]
        case .complaint: [delivered, FollowUp(after: delays.complaint, act: .event(.complained))]
        case .delayed:
            [
                FollowUp(
                    after: delays.event,
                    act: .event(.delayed, code: 451, enhanced: "4.4.1", detail: "the mailbox host does not answer")),
                FollowUp(after: delays.event + delays.delayed, act: .event(.delivered)),
            ]
        case .open: [delivered, FollowUp(after: delays.open, act: .open(.person))]
        case .click:
            [
                delivered, FollowUp(after: delays.open, act: .open(.person)),
                FollowUp(after: delays.open + max(1_500, delays.click), act: .clickOne(.person)),
            ]
        case .scanner:
            [
                FollowUp(after: 0, act: .open(.scanner)), FollowUp(after: 0, act: .clickAll(.scanner)), delivered,
            ]
        case .unsub: [delivered, FollowUp(after: delays.open, act: .unsubscribe)]
        }
    }
}

struct Delays: Sendable {
    var event: Int64
    var bounce: Int64
    var complaint: Int64
    var delayed: Int64
    var open: Int64
    var click: Int64
    var slow: Int64
}

struct FollowUp: Sendable {
    var after: Int64
    let act: Act
}

enum Act: Sendable {
    case event(EventKind, code: Int? = nil, enhanced: String? = nil, detail: String? = nil)
    case open(Agent)
    case clickOne(Agent)
    case clickAll(Agent)
    case unsubscribe
}

enum EventKind: String, Sendable {
    case delivered, bounced, complained, delayed
}

enum Agent: String, Sendable {
    case person = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    case scanner = "Mozilla/5.0 (compatible; LinkScanner/1.0)"
    case provider = "mailbox-simulator/1.0"
}

/// SplitMix64: the same seed makes the same choices.
struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
