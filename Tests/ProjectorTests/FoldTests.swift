import Contracts
import Delivery
import TestKit
import Testing

@testable import status_projector

@Suite struct `The fold` {
    static let blast = BlastID(high: 0x0190_0000_0000_7000, low: 0x8000_0000_0000_0001)

    static func event(_ number: Int32, _ fact: DeliveryFact, _ id: Int, attempt: Int32? = nil, response: String? = nil)
        -> ReadEvent
    {
        ReadEvent(
            event: DeliveryEvent(
                id: "e\(id)", source: "/test", delivery: DeliveryID(blast: blast, recipientNumber: number),
                district: DistrictID(1), fact: fact, occurredAtMicroseconds: Int64(id) * 1000,
                attempt: attempt.map { .init(number: $0, atMicroseconds: Int64(id) * 1000) }, response: response),
            offset: Int64(id), recordedAtMicroseconds: Int64(id) * 1000, value: [])
    }

    static func fresh(_ numbers: ClosedRange<Int32>) -> [DeliveryID: DeliveryState] {
        var states: [DeliveryID: DeliveryState] = [:]
        for number in numbers {
            states[DeliveryID(blast: blast, recipientNumber: number)] = DeliveryState(
                district: DistrictID(1), facts: .initial, attempts: 0)
        }
        return states
    }

    @Test func `several events of one delivery in one batch all count, one change each`() {
        var fold = Fold(states: Self.fresh(1...1), seq: 10)
        for (index, fact) in [DeliveryFact.sent, .delivered, .opened].enumerated() {
            fold.apply(Self.event(1, fact, index + 1))
        }
        #expect(fold.changes.map(\.seq) == [11, 12, 13])
        #expect(fold.changes.map(\.previousSeq) == [nil, 11, 12])
        #expect(fold.changes.map(\.state.facts.version) == [1, 2, 3])
        #expect(fold.changed.count == 1)
        #expect(fold.countDeltas.map(\.n) == [-1, 1])
    }

    @Test func `a change is written and counted whatever sequence number the delivery had before`() {
        let id = DeliveryID(blast: Self.blast, recipientNumber: 1)
        for before: Int64? in [nil, 3, 10, 11, 500] {
            var states = Self.fresh(1...1)
            states[id]?.lastSeq = before
            var fold = Fold(states: states, seq: 10)
            fold.apply(Self.event(1, .sent, 1))
            fold.apply(Self.event(1, .opened, 2))
            #expect(fold.changes.count == 2)
            #expect(fold.changed == [id], "last_seq \(before ?? 0)")
            #expect(fold.countDeltas.map(\.n).reduce(0, +) == 0 && fold.countDeltas.count == 2)
        }
    }

    @Test func `a repeated event changes nothing`() {
        var fold = Fold(states: Self.fresh(1...1), seq: 0)
        fold.apply(Self.event(1, .sent, 1))
        fold.apply(Self.event(1, .sent, 1))
        fold.apply(Self.event(1, .pending, 2))
        #expect(fold.changes.count == 1)
        #expect(fold.repeated == 2)
    }

    @Test func `a further attempt is a change without a new fact and keeps the version`() {
        var fold = Fold(states: Self.fresh(1...1), seq: 0)
        fold.apply(Self.event(1, .deferred, 1, attempt: 1))
        fold.apply(Self.event(1, .deferred, 2, attempt: 2))
        #expect(fold.changes.count == 2)
        #expect(fold.changes[1].newFact == nil)
        #expect(fold.changes[1].state.attempts == 2)
        #expect(fold.changes.map(\.state.facts.version) == [1, 1])
    }

    @Test func `the last answer wins by the time it was given, whatever the order of arrival`() {
        for order in [[1, 2], [2, 1]] {
            var fold = Fold(states: Self.fresh(1...1), seq: 0)
            for id in order { fold.apply(Self.event(1, .responded, id, response: id == 1 ? "yes" : "no")) }
            #expect(fold.states.values.first?.response == "no")
        }
    }

    @Test func `events without a row or of another district are set apart and touch nothing`() {
        var fold = Fold(states: Self.fresh(1...1), seq: 0)
        fold.apply(Self.event(2, .sent, 1))
        let foreign = DeliveryEvent(
            id: "f", source: "/test", delivery: DeliveryID(blast: Self.blast, recipientNumber: 1),
            district: DistrictID(2), fact: .sent, occurredAtMicroseconds: 1)
        fold.apply(ReadEvent(event: foreign, offset: 2, recordedAtMicroseconds: 1, value: []))
        #expect(fold.late.count == 1)
        #expect(fold.foreign.count == 1)
        #expect(fold.changes.isEmpty)
    }

    @Test(arguments: 1...200)
    func `any order, split and repetition ends in the same states, and counters move with them`(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        let facts = DeliveryFact.allCases
        var events = (0..<60).map { index in
            Self.event(
                Int32.random(in: 1...5, using: &random), facts.randomElement(using: &random) ?? .sent, index,
                attempt: Bool.random(using: &random) ? Int32.random(in: 1...4, using: &random) : nil)
        }
        let reference = Self.project(events, batch: 60)
        events += events.shuffled(using: &random).prefix(20)
        events.shuffle(using: &random)
        let other = Self.project(events, batch: Int.random(in: 1...20, using: &random))
        #expect(other.states.mapValues(\.facts) == reference.states.mapValues(\.facts))
        #expect(other.states.mapValues(\.attempts) == reference.states.mapValues(\.attempts))
        #expect(other.counts == reference.counts)
        var expected: [DeliveryFacts: Int64] = [:]
        for state in other.states.values { expected[state.facts, default: 0] += 1 }
        #expect(other.counts == expected)
    }

    private static func project(_ events: [ReadEvent], batch: Int)
        -> (states: [DeliveryID: DeliveryState], counts: [DeliveryFacts: Int64])
    {
        var states = fresh(1...5)
        var counts: [DeliveryFacts: Int64] = [.initial: 5]
        var seq: Int64 = 0
        var rest = events[...]
        while !rest.isEmpty {
            var fold = Fold(states: states, seq: seq)
            for event in rest.prefix(batch) { fold.apply(event) }
            for delta in fold.countDeltas { counts[delta.facts, default: 0] += delta.n }
            states = fold.states
            seq = fold.seq
            rest = rest.dropFirst(batch)
        }
        return (states, counts.filter { $0.value != 0 })
    }
}
