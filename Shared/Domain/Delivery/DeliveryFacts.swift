/// The facts known about one delivery: a grow-only set, stored as one integer.
///
/// The only mutation is the union, which is commutative, associative and idempotent. Events may therefore arrive
/// late, twice or in any order, and everyone who saw the same events agrees; no status can move backwards. The laws
/// are checked in `DeliveryFactsTests`; PostgreSQL states them again as a trigger (migration V0003).
public struct DeliveryFacts: Hashable, Sendable {
    public let bits: Int64

    /// Any bit pattern is accepted: a newer program may know facts that this one does not, and they must survive.
    public init(bits: Int64) { self.bits = bits }
    public init(_ facts: DeliveryFact...) { self.init(facts) }
    public init(_ facts: some Sequence<DeliveryFact>) {
        bits = facts.reduce(0) { $0 | 1 << Int64($1.rawValue) }
    }

    /// What every delivery starts as.
    public static let initial = DeliveryFacts(.pending)

    public func contains(_ fact: DeliveryFact) -> Bool { bits & (1 << Int64(fact.rawValue)) != 0 }
    public func isSuperset(of other: DeliveryFacts) -> Bool { other.bits & ~bits == 0 }
    public func intersects(_ other: DeliveryFacts) -> Bool { bits & other.bits != 0 }

    public func union(_ other: DeliveryFacts) -> DeliveryFacts { DeliveryFacts(bits: bits | other.bits) }
    public func union(_ fact: DeliveryFact) -> DeliveryFacts { union(DeliveryFacts(fact)) }

    /// The highest-ranked fact among those in `mask`, or nil when there is none.
    public func highest(in mask: DeliveryFacts) -> DeliveryFact? {
        let masked = UInt64(bitPattern: bits & mask.bits)
        guard masked != 0 else { return nil }
        return DeliveryFact(rawValue: UInt8(63 - masked.leadingZeroBitCount))
    }

    /// The known facts in rank order, lowest first.
    public var facts: [DeliveryFact] {
        var rest = UInt64(bitPattern: bits)
        var facts: [DeliveryFact] = []
        facts.reserveCapacity(rest.nonzeroBitCount)
        while rest != 0 {
            if let fact = DeliveryFact(rawValue: UInt8(rest.trailingZeroBitCount)) { facts.append(fact) }
            rest &= rest - 1
        }
        return facts
    }
    public var names: [String] { facts.map(\.name) }

    /// A late bounce is derived, never stored: the receiving side first confirmed, then returned the message
    /// (K-01, S-03, S-14).
    public var isLateBounce: Bool {
        contains(.delivered) && intersects(DeliveryFacts(.bounced, .bouncedInvalid))
    }
}

// The published masks.
extension DeliveryFacts {
    /// Facts kept as evidence that never show as a status (K-12, K-13).
    public static let evidenceOnly = DeliveryFacts(.machineOpen, .machineClick, .autoresponded, .unconfirmed)

    /// Every status-bearing fact.
    public static let canonicalMask = DeliveryFacts(DeliveryFact.allCases).subtracting(evidenceOnly)

    /// Decided before any hand-over: the recipient was left out.
    public static let excludedMask = DeliveryFacts(
        .noAddress, .consentDenied, .notSelected, .skipped, .duplicate, .blockedBounce, .blockedComplaint,
        .blockedInvalid, .invalid, .cancelled)

    /// With any of these, nothing more is expected of our own accord. Later news may still arrive.
    public static let finalMask = excludedMask.union(
        DeliveryFacts(
            .unknown, .notSent, .expired, .bounced, .bouncedInvalid, .delivered, .opened, .clicked, .acknowledged,
            .responded, .optedOut, .complained, .unconfirmed))

    /// The sender has nothing left to do: excluded, handed over, or given up.
    public static let handedOverMask = finalMask.union(DeliveryFacts(.sent, .delayed))

    /// Only a provider that accepted the message can have caused one of these.
    public static let acceptanceEvidenceMask = DeliveryFacts(
        .sent, .delayed, .delivered, .opened, .clicked, .acknowledged, .responded, .optedOut, .complained,
        .machineOpen, .machineClick, .autoresponded)

    private func subtracting(_ other: DeliveryFacts) -> DeliveryFacts { DeliveryFacts(bits: bits & ~other.bits) }
}

// What consumers compute with.
extension DeliveryFacts {
    /// The canonical status: the highest status-bearing fact. Every reachable set has one, because every delivery
    /// starts as `pending`.
    public var canonicalStatus: DeliveryFact { highest(in: .canonicalMask) ?? .pending }

    /// The number of status-bearing facts, minus one. A rebuild from the events yields the same number.
    public var version: Int { (bits & Self.canonicalMask.bits).nonzeroBitCount - 1 }

    public var isFinal: Bool { intersects(.finalMask) }
}
