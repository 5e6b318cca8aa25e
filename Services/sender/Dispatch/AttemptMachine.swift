import Delivery

/// The state of an attempt as its row says it.
enum AttemptState: String, Sendable, CaseIterable {
    case wire, accepted, rejected, deferred, unknown, resend, stopped, requeued
    case inDoubt = "in_doubt"
    case resolvedSent = "resolved_sent"
    case resolvedNotSent = "resolved_not_sent"
    case timedOut = "timed_out"
}

/// Where an attempt stands.
struct AttemptStanding: Hashable, Sendable {
    let state: AttemptState
    /// Another attempt is to follow and has not begun.
    let isDue: Bool

    init(_ state: AttemptState, isDue: Bool = false) {
        self.state = state
        self.isDue = isDue
    }
}

/// What can happen to an attempt.
enum AttemptEvent: String, Sendable, CaseIterable {
    /// WIRE's answer: it goes out, it never will, or it asks again in a moment.
    case wired, stopped
    case heldBack = "held_back"
    /// Nothing was heard of an accepted message for too long; said in a row of its own.
    case timedOut = "timed_out"
    /// The relay's answer. `expired` is a refusal for now that used up the schedule.
    case accepted, rejected, deferred, expired
    /// The relay did not take it for a reason that is not the recipient's.
    case putBack = "put_back"
    /// The sender that wrote WIRE never offered it to a relay.
    case withdrawn
    /// The final dot got no usable answer; or nobody is left who could write one down.
    case doubted, abandoned
    /// It is known now, from elsewhere, that the message was accepted, or that it was not.
    case proven, refuted
    /// Nothing is known after long doubt, and the blast's policy forbids, or asks for, one more attempt.
    case givenUp = "given_up"
    case repeated
    /// The attempt that was to follow begins.
    case followed
}

/// What an event makes of an attempt.
struct AttemptMove: Sendable, Equatable {
    enum Claim: Sendable {
        case taken, released
    }

    let to: AttemptStanding
    /// One of these facts is stated; empty when there is no news about the delivery.
    let facts: [DeliveryFact]
    /// What becomes of the content claim; nil when it stays.
    let claim: Claim?
}

/// The law of attempts, as a value: no clock, database or connection.
///
/// Callers may rely on: nothing leaves a final standing; a way through the machine states no fact twice; one event alone
/// leads to the wire, and only for an attempt that has no row; doubt leads to another attempt only by an answer that the
/// message was not taken, or by the declared policy.
///
/// The statements that change rows take their conditions and results from here (`AttemptMachine+SQL.swift`).
enum AttemptMachine {
    /// Every standing that a row can have.
    static let standings: [AttemptStanding] =
        AttemptState.allCases.map { AttemptStanding($0) } + [
            AttemptStanding(.deferred, isDue: true), AttemptStanding(.requeued, isDue: true),
            AttemptStanding(.resend, isDue: true),
        ]

    /// - Parameter standing: nil for an attempt without a row.
    /// - Returns: nil when the event changes nothing there.
    static func move(_ standing: AttemptStanding?, _ event: AttemptEvent) -> AttemptMove? {
        guard let standing else { return begins(with: event) ? result(of: event) : nil }
        guard admits(standing, event) else { return nil }
        if event == .followed { return AttemptMove(to: AttemptStanding(standing.state), facts: [], claim: nil) }
        return result(of: event)
    }

    private static func begins(with event: AttemptEvent) -> Bool {
        switch event {
        case .wired, .stopped, .heldBack, .timedOut: true
        default: false
        }
    }

    private static func admits(_ standing: AttemptStanding, _ event: AttemptEvent) -> Bool {
        switch event {
        case .wired, .stopped, .heldBack, .timedOut: false
        case .followed: standing.isDue
        case .doubted, .abandoned: standing.state == .wire
        case .deferred, .expired, .putBack, .withdrawn: standing.state == .wire || standing.state == .inDoubt
        case .givenUp, .repeated: standing.state == .inDoubt
        case .refuted: standing.state == .inDoubt || standing.state == .unknown
        case .proven: isUndecided(standing)
        case .accepted, .rejected: standing.state == .wire || isUndecided(standing)
        }
    }

    /// In doubt, given up, or about to be repeated: an answer still counts.
    private static func isUndecided(_ standing: AttemptStanding) -> Bool {
        switch standing.state {
        case .inDoubt, .unknown: true
        case .resend: standing.isDue
        default: false
        }
    }

    /// What an event makes of any attempt that it changes; nil for `followed`, which changes no state.
    static func result(of event: AttemptEvent) -> AttemptMove? {
        func move(
            _ state: AttemptState, isDue: Bool = false, _ facts: [DeliveryFact], _ claim: AttemptMove.Claim?
        ) -> AttemptMove {
            AttemptMove(to: AttemptStanding(state, isDue: isDue), facts: facts, claim: claim)
        }
        return switch event {
        case .wired: move(.wire, [], .taken)
        case .stopped: move(.stopped, stops, nil)
        case .heldBack: move(.requeued, isDue: true, [], nil)
        case .timedOut: move(.timedOut, [.expired, .unconfirmed], nil)
        case .accepted: move(.accepted, [.sent], nil)
        case .rejected: move(.rejected, [.bounced, .bouncedInvalid, .notSent], .released)
        case .deferred: move(.deferred, isDue: true, [.deferred], .released)
        case .expired: move(.deferred, [.expired], .released)
        case .putBack, .withdrawn: move(.requeued, isDue: true, [], .released)
        case .doubted, .abandoned: move(.inDoubt, [.inDoubt], nil)
        case .proven: move(.resolvedSent, [.sent], nil)
        case .refuted: move(.resolvedNotSent, [.notSent], .released)
        case .givenUp: move(.unknown, [.unknown], nil)
        case .repeated: move(.resend, isDue: true, [], nil)
        case .followed: nil
        }
    }

    private static let stops: [DeliveryFact] = [
        .invalid, .consentDenied, .skipped, .duplicate, .blockedBounce, .blockedComplaint, .blockedInvalid, .cancelled,
        .notSent,
    ]
}
