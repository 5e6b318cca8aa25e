/// How a district reads facts: in whose words, and what it chose where the products leave a choice.
///
/// A reading is applied when a report is shown. It changes no stored fact, and the records on the topics know nothing
/// of it: a district may change its reading at any time, back and forth.
public struct StatusReading: Sendable {
    /// What a message shows that was confirmed as delivered and came back later (K-01). Both facts stay, whatever shows.
    public enum LateBounce: String, Sendable, CaseIterable {
        /// Delivered stays Delivered (S-03).
        case frozen
        /// The bounce shows in place of Delivered, and of nothing higher: a message that was opened did arrive.
        case shown
    }

    /// Whose openings count as opened (K-13). A click of a program never counts as one.
    public enum Opens: String, Sendable, CaseIterable {
        /// Those of people, as far as they can be told.
        case human
        /// Those of programs as well, which load every picture of every message.
        case all
    }

    /// What a set of facts shows.
    public struct Shown: Hashable, Sendable {
        /// The fact whose word is shown.
        public let fact: DeliveryFact
        /// The fact of the set that decided it: another one only where a program's opening counts as opened.
        public let cause: DeliveryFact
        /// A bounce shows that came after Delivered.
        public let isLateBounce: Bool
    }

    public let vocabulary: StatusVocabulary
    public let lateBounce: LateBounce
    public let opens: Opens

    public init(_ vocabulary: StatusVocabulary, lateBounce: LateBounce = .frozen, opens: Opens = .human) {
        self.vocabulary = vocabulary
        self.lateBounce = lateBounce
        self.opens = opens
    }

    public func shown(for facts: DeliveryFacts) -> Shown {
        let counted = opens == .all && facts.contains(.machineOpen) ? facts.union(.opened) : facts
        let fact = vocabulary.shownFact(for: counted)
        if fact == .delivered, lateBounce == .shown, facts.isLateBounce {
            let bounce: DeliveryFact = facts.contains(.bouncedInvalid) ? .bouncedInvalid : .bounced
            return Shown(fact: bounce, cause: bounce, isLateBounce: true)
        }
        return Shown(fact: fact, cause: facts.contains(fact) ? fact : .machineOpen, isLateBounce: false)
    }

    /// The word shown for `facts`.
    public func word(for facts: DeliveryFacts) -> String {
        vocabulary.words[shown(for: facts).fact]?.text ?? vocabulary.word(for: facts)
    }
}
