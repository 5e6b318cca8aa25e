import Delivery
import Testing

@Suite struct `A district's reading` {
    static let all: [StatusReading] = StatusVocabulary.all.flatMap { vocabulary in
        StatusReading.LateBounce.allCases.flatMap { lateBounce in
            StatusReading.Opens.allCases.map { StatusReading(vocabulary, lateBounce: lateBounce, opens: $0) }
        }
    }

    private func facts(_ facts: DeliveryFact...) -> DeliveryFacts { DeliveryFacts(facts).union(.pending) }

    /// Three facts beside `pending`, so that a bounce, a delivery and a third fact meet.
    private static let sets = Set(
        `Delivery facts`.sets.flatMap { set in DeliveryFact.allCases.map { set.union($0) } })

    @Test func `no join ever lowers the rank in any reading`() {
        for reading in Self.all {
            for set in Self.sets {
                let before = Self.rank(reading.shown(for: set))
                for fact in DeliveryFact.allCases where !set.contains(fact) {
                    let after = Self.rank(reading.shown(for: set.union(fact)))
                    if after < before {
                        Issue.record("\(reading.vocabulary.name): \(set.names) and \(fact.name): \(before), \(after)")
                    }
                }
            }
        }
    }

    /// A late bounce ranks just above Delivered.
    private static func rank(_ shown: StatusReading.Shown) -> Int {
        Int(shown.isLateBounce ? DeliveryFact.delivered.rawValue + 1 : shown.fact.rawValue)
    }

    @Test func `every set has one word of the vocabulary, decided by a fact of the set`() {
        for reading in Self.all {
            for set in Self.sets {
                let shown = reading.shown(for: set)
                if !set.contains(shown.cause) || reading.vocabulary.words[shown.fact]?.text != reading.word(for: set) {
                    Issue.record("\(reading.vocabulary.name): \(set.names)")
                }
            }
        }
    }

    @Test func `the usual reading is the vocabulary's own`() {
        for vocabulary in StatusVocabulary.all {
            let reading = StatusReading(vocabulary)
            for set in Self.sets where reading.shown(for: set).fact != vocabulary.shownFact(for: set) {
                Issue.record("\(vocabulary.name): \(set.names)")
            }
        }
    }

    @Test func `K-01 a late bounce shows where the district wants it, above Delivered and below an open`() {
        for (vocabulary, words) in [
            (StatusVocabulary.schoolMessenger, ["Delivered", "Bounced", "Failed", "Opened"]),
            (.iClassPro, ["Delivery", "Bounce", "Bounce", "Open"]),
            (.crisisworks, ["Delivered", "Failed", "Failed", "Read"]),
        ] {
            let frozen = StatusReading(vocabulary)
            let shown = StatusReading(vocabulary, lateBounce: .shown)
            #expect(frozen.word(for: facts(.sent, .delivered, .bounced)) == words[0])
            #expect(shown.word(for: facts(.sent, .delivered)) == words[0])
            #expect(shown.word(for: facts(.sent, .delivered, .bounced)) == words[1])
            #expect(shown.word(for: facts(.sent, .delivered, .bounced, .bouncedInvalid)) == words[2])
            #expect(shown.word(for: facts(.sent, .delivered, .bounced, .opened)) == words[3])
            #expect(shown.shown(for: facts(.delivered, .bounced)).isLateBounce)
            #expect(!shown.shown(for: facts(.delivered, .bounced, .opened)).isLateBounce)
            #expect(!shown.shown(for: facts(.sent, .bounced)).isLateBounce)
        }
        // A fact that this vocabulary has no word for does not hide the return.
        let reading = StatusReading(.schoolMessenger, lateBounce: .shown)
        #expect(reading.word(for: facts(.delivered, .bounced, .optedOut)) == "Bounced")
    }

    @Test func `K-13 a program's open counts where the district wants it, a program's click and reply never do`() {
        for vocabulary in StatusVocabulary.all {
            let human = StatusReading(vocabulary)
            let all = StatusReading(vocabulary, opens: .all)
            #expect(human.shown(for: facts(.sent, .machineOpen)).fact == .sent)
            #expect(all.shown(for: facts(.sent, .machineOpen)).fact == .opened)
            #expect(all.shown(for: facts(.sent, .machineOpen)).cause == .machineOpen)
            #expect(all.shown(for: facts(.sent, .machineOpen, .opened)).cause == .opened)
            #expect(all.shown(for: facts(.sent, .machineOpen, .clicked)).fact == .clicked)
            #expect(all.shown(for: facts(.sent, .machineClick, .autoresponded)).fact == .sent)
        }
    }
}
