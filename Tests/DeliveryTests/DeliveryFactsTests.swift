import Delivery
import Testing

@Suite struct `Delivery facts` {
    /// Every pair of facts beside `pending`: small enough to try all.
    static let sets: [DeliveryFacts] = {
        var sets: [DeliveryFacts] = [.initial]
        for a in DeliveryFact.allCases {
            for b in DeliveryFact.allCases where a.rawValue <= b.rawValue { sets.append(DeliveryFacts(.pending, a, b)) }
        }
        return sets
    }()

    @Test func `joining is commutative, associative and idempotent`() {
        for a in Self.sets {
            #expect(a.union(a) == a)
            for b in Self.sets {
                #expect(a.union(b) == b.union(a))
                #expect(a.union(b).union(.initial) == a.union(b.union(.initial)))
                #expect(a.union(b).isSuperset(of: a))
            }
        }
    }

    @Test func `no join ever lowers the status in any vocabulary`() {
        for vocabulary in StatusVocabulary.all {
            for a in Self.sets {
                for fact in DeliveryFact.allCases {
                    let before = vocabulary.shownFact(for: a)
                    let after = vocabulary.shownFact(for: a.union(fact))
                    #expect(after.rawValue >= before.rawValue, "\(vocabulary.name): \(a.names) and \(fact.name)")
                }
            }
        }
    }

    @Test func `bits are the frozen ones and stay exact in every JSON reader`() {
        let frozen: [String: Int] = [
            "pending": 0, "validating": 2, "deferred": 4, "no_address": 6, "consent_denied": 7, "not_selected": 8,
            "skipped": 9, "duplicate": 10, "blocked_bounce": 11, "blocked_complaint": 12, "blocked_invalid": 13,
            "invalid": 14, "cancelled": 16, "in_doubt": 18, "unknown": 19, "sent": 20, "delayed": 22, "not_sent": 24,
            "expired": 25, "bounced": 26, "bounced_invalid": 27, "delivered": 30, "opened": 34, "clicked": 36,
            "acknowledged": 38, "responded": 40, "opted_out": 42, "complained": 44, "machine_open": 46,
            "machine_click": 47, "autoresponded": 48, "unconfirmed": 49,
        ]
        #expect(frozen.count == DeliveryFact.allCases.count)
        for fact in DeliveryFact.allCases {
            #expect(frozen[fact.name] == Int(fact.rawValue))
            #expect(DeliveryFact(name: fact.name) == fact)
            #expect(fact.rawValue < 53)
        }
    }

    @Test func `version counts status-bearing facts only`() {
        #expect(DeliveryFacts.initial.version == 0)
        #expect(DeliveryFacts(.pending, .sent).version == 1)
        #expect(DeliveryFacts(.pending, .sent, .machineOpen, .machineClick, .autoresponded).version == 1)
        #expect(DeliveryFacts(.pending, .deferred, .sent, .delivered).version == 3)
        #expect(DeliveryFacts(.pending, .sent, .unconfirmed).version == 1)
    }

    @Test func `unknown bits of a newer program survive a join`() {
        let newer = DeliveryFacts(bits: 1 | 1 << 50)
        #expect(newer.union(.sent).bits == 1 | 1 << 50 | 1 << 20)
        #expect(newer.canonicalStatus == .pending)
    }

    @Test func `every excluded, refused or confirmed delivery is final, and one on its way is not`() {
        for fact in DeliveryFacts.excludedMask.facts { #expect(DeliveryFacts(.pending, fact).isFinal) }
        for fact in [DeliveryFact.pending, .validating, .deferred, .inDoubt, .sent, .delayed, .machineOpen] {
            #expect(!DeliveryFacts(.pending, fact).isFinal, "\(fact.name)")
        }
        #expect(DeliveryFacts(.pending, .sent, .unconfirmed).isFinal)
    }

    @Test(arguments: [
        "x", "", "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2", "01a1ffbb5adf7837bcb0ab8d18c2dd2d",
        "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2d/0", "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2d/-1",
        "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2d/01", "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2d/+1",
        "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2d/1/1", "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2d/4294967297",
    ])
    func `what is not a delivery id is not read as one`(text: String) {
        #expect(DeliveryID(text) == nil)
    }

    @Test func `a delivery id reads back what it writes`() throws {
        let text = "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2d/2147483647"
        #expect(try #require(DeliveryID(text)).description == text)
    }
}
