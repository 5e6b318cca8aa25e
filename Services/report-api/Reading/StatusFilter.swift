import Delivery

/// Which deliveries a list shows: those of one word of a vocabulary, of one canonical status, or the late bounces.
///
/// It is turned into the sets of facts that are present in the blast and match, so that the database compares integers
/// and a word that nobody has needs no scan.
struct StatusFilter: Sendable {
    static let lateBounceName = "late_bounce"

    private enum Rule: Sendable {
        case shownFact(DeliveryFacts, mask: DeliveryFacts)
        case lateBounce
    }

    private let rule: Rule

    /// Reads a word of the vocabulary (letter case does not matter), else the name of a canonical status; nil for
    /// anything else.
    init?(_ text: String, vocabulary: StatusVocabulary) {
        let worded = vocabulary.facts(shownAs: text)
        if worded.bits != 0 {
            rule = .shownFact(worded, mask: vocabulary.mask)
        } else if text == Self.lateBounceName {
            rule = .lateBounce
        } else if let fact = DeliveryFact(name: text), DeliveryFacts.canonicalMask.contains(fact) {
            rule = .shownFact(DeliveryFacts(fact), mask: .canonicalMask)
        } else {
            return nil
        }
    }

    func matches(_ facts: DeliveryFacts) -> Bool {
        switch rule {
        case .shownFact(let wanted, let mask): facts.highest(in: mask).map(wanted.contains) ?? false
        case .lateBounce: facts.isLateBounce
        }
    }

    /// Facts of which every match has at least one, when first entries into all of them are recorded apart.
    var recordedFacts: DeliveryFacts? {
        let wanted =
            switch rule {
            case .shownFact(let wanted, _): wanted
            case .lateBounce: DeliveryFacts(.bounced, .bouncedInvalid)
            }
        return Self.recorded.isSuperset(of: wanted) ? wanted : nil
    }

    /// The facts whose first entry the projector records in `delivery_problem`.
    static let recorded = DeliveryFacts(
        .noAddress, .invalid, .blockedBounce, .blockedComplaint, .blockedInvalid, .inDoubt, .unknown, .notSent,
        .expired, .bounced, .bouncedInvalid, .optedOut, .complained)
}
