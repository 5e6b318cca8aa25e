/// The words in which one product shows a status.
///
/// A vocabulary names some facts and leaves others without a word. The shown word is that of the highest fact that
/// has one, so a vocabulary switch changes no stored fact. Every reachable set of facts has exactly one word,
/// because `pending`, which every delivery has, is named by each vocabulary.
public struct StatusVocabulary: Sendable {
    /// How far a word may be trusted to say what the product's own documentation says.
    public enum Fidelity: String, Sendable {
        /// The product's word, in the product's sense.
        case exact
        /// The product has no word here; this one is ours.
        case own
        /// The product's nearest word, which says less or something else.
        case lossy
    }

    public struct Word: Sendable, Equatable {
        public let text: String
        public let fidelity: Fidelity
    }

    public let name: String
    public let title: String
    public let words: [DeliveryFact: Word]
    public let mask: DeliveryFacts

    init(name: String, title: String, _ words: [DeliveryFact: Word]) {
        self.name = name
        self.title = title
        self.words = words
        mask = DeliveryFacts(words.keys)
    }

    /// The fact whose word is shown for `facts`.
    public func shownFact(for facts: DeliveryFacts) -> DeliveryFact { facts.highest(in: mask) ?? .pending }

    /// The word shown for `facts`.
    public func word(for facts: DeliveryFacts) -> String { words[shownFact(for: facts)]?.text ?? "Unknown" }

    /// The words in rank order, each once.
    public var wordsInOrder: [String] {
        var seen: Set<String> = []
        return mask.facts.compactMap { fact in
            guard let text = words[fact]?.text, seen.insert(text).inserted else { return nil }
            return text
        }
    }

    /// The facts that show as `word`; empty for a word this vocabulary does not have. Letter case is ignored, and
    /// "Verify" is read as "Validate" (I-32, K-17).
    public func facts(shownAs word: String) -> DeliveryFacts {
        let wanted = word.lowercased() == "verify" ? "validate" : word.lowercased()
        return DeliveryFacts(words.filter { $0.value.text.lowercased() == wanted }.keys)
    }

    public static let all: [StatusVocabulary] = [
        .canonical, .iClassPro, .iClassPro2018, .schoolMessenger, .crisisworks,
    ]

    public static func named(_ name: String) -> StatusVocabulary? { all.first { $0.name == name } }
}

extension StatusVocabulary.Word: ExpressibleByStringLiteral {
    public init(stringLiteral text: String) { self.init(text: text, fidelity: .exact) }
    static func own(_ text: String) -> Self { Self(text: text, fidelity: .own) }
    static func lossy(_ text: String) -> Self { Self(text: text, fidelity: .lossy) }
}
