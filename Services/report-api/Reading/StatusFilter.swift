import Delivery

/// Which deliveries a list shows: those of one word of a vocabulary, of one canonical status, or the late bounces.
///
/// It is turned into the sets of facts that are present in the blast and match, so that the database compares integers
/// and a word that nobody has needs no scan.
struct StatusFilter: Sendable {
    static let lateBounceName = "late_bounce"

    private enum Rule: Sendable {
        case shown(DeliveryFacts, StatusReading)
        case lateBounce
    }

    private let rule: Rule

    /// Reads a word of the reading's vocabulary (letter case does not matter), else the name of a canonical status, which
    /// is the same in every reading; nil for anything else.
    init?(_ text: String, reading: StatusReading) {
        let worded = reading.vocabulary.facts(shownAs: text)
        if worded.bits != 0 {
            rule = .shown(worded, reading)
        } else if text == Self.lateBounceName {
            rule = .lateBounce
        } else if let fact = DeliveryFact(name: text), DeliveryFacts.canonicalMask.contains(fact) {
            rule = .shown(DeliveryFacts(fact), StatusReading(.canonical))
        } else {
            return nil
        }
    }

    func matches(_ facts: DeliveryFacts) -> Bool {
        switch rule {
        case .shown(let wanted, let reading): wanted.contains(reading.shown(for: facts).fact)
        case .lateBounce: facts.isLateBounce
        }
    }

    /// Facts of which every match has at least one, when first entries into all of them are recorded apart.
    var recordedFacts: DeliveryFacts? {
        let wanted =
            switch rule {
            case .shown(let wanted, _): wanted
            case .lateBounce: DeliveryFacts(.bounced, .bouncedInvalid)
            }
        return Self.recorded.isSuperset(of: wanted) ? wanted : nil
    }

    /// The facts whose first entry the projector records in `delivery_problem`.
    static let recorded = DeliveryFacts(
        .noAddress, .invalid, .blockedBounce, .blockedComplaint, .blockedInvalid, .inDoubt, .unknown, .notSent,
        .expired, .bounced, .bouncedInvalid, .optedOut, .complained)
}
