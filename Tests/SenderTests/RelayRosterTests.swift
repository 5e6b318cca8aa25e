import SMTP
import Testing

@testable import sender

@Suite("Relays: who gets the next message")
struct RelayRosterTests {
    private let start = ContinuousClock.now

    private func roster(_ relays: [(weight: Int, connections: Int)]) -> RelayRoster {
        RelayRoster(relays.map { RelayRoster.Entry(weight: $0.weight, connections: $0.connections) })
    }

    private func taken(
        _ count: Int, _ roster: inout RelayRoster, at time: ContinuousClock.Instant, except tried: Set<Int> = []
    ) -> [Int?] {
        var taken: [Int?] = []
        for _ in 0..<count { taken.append(roster.take(at: time, except: tried)) }
        return taken
    }

    @Test func `relays that work share the messages exactly by weight, without runs`() {
        var roster = roster([(5, 100), (1, 100), (2, 100)])
        var counts = [0, 0, 0]
        var order: [Int] = []
        for _ in 0..<80 {
            guard let index = roster.take(at: start) else { continue }
            counts[index] += 1
            order.append(index)
            roster.giveBack(index)
        }
        #expect(counts == [50, 10, 20])
        #expect(!zip(order, order.dropFirst(3)).contains { $0 == 1 && $1 == 1 })
    }

    @Test func `one that is full is passed over, and when all are full nobody is chosen`() {
        var roster = roster([(1000, 1), (1, 2)])
        #expect(taken(3, &roster, at: start) == [0, 1, 1])
        #expect(taken(1, &roster, at: start) == [nil])
        #expect(roster.limit(at: start) == 3)
        let inLine = [roster.takeInLine(except: []), roster.takeInLine(except: []), roster.takeInLine(except: [0])]
        #expect(inLine == [0, 1, 1])
        #expect(roster.limit(at: start) == 3, "who stands in line takes nobody's slot")
        roster.giveBack(0)
        roster.giveBack(1)
        roster.giveBack(1)
        roster.giveBack(0)
        #expect(taken(1, &roster, at: start, except: [0]) == [nil])
        #expect(taken(1, &roster, at: start) == [0])
    }

    @Test func `one that failed gets nothing, then one message at a time until one goes through`() {
        var roster = roster([(1, 4), (1, 4)])
        #expect(taken(1, &roster, at: start) == [0])
        roster.giveBack(0)
        let hasBegun = roster.failed(0, at: start)
        #expect(hasBegun)
        #expect(roster.limit(at: start) == 4)
        #expect(taken(5, &roster, at: start) == [1, 1, 1, 1, nil])
        #expect(roster.pauseNeeded(at: start) == nil)
        let later = start + .seconds(1)
        #expect(roster.limit(at: later) == 5)
        #expect(taken(2, &roster, at: later, except: [1]) == [0, nil])
        roster.giveBack(0)
        let hasEnded = roster.worked(0)
        #expect(hasEnded)
        #expect(roster.limit(at: later) == 8)
        #expect(taken(5, &roster, at: later) == [0, 0, 0, 0, nil])
    }

    @Test func `what one message may have caused counts from the second time in a row`() {
        var roster = roster([(1, 2)])
        let found = [
            roster.failed(0, at: start, isCertain: false), roster.worked(0),
            roster.failed(0, at: start, isCertain: false), roster.failed(0, at: start, isCertain: false),
            roster.worked(0), roster.failed(0, at: start),
        ]
        #expect(found == [false, false, false, true, true, true])
    }

    @Test func `what a failed relay still holds counts, so that others' connections stay theirs`() {
        var roster = roster([(1, 3), (1, 2)])
        #expect(taken(4, &roster, at: start) == [0, 1, 0, 1])
        let hasBegun = roster.failed(0, at: start)
        #expect(hasBegun)
        #expect(roster.limit(at: start) == 4)
        roster.giveBack(0)
        #expect(roster.limit(at: start) == 3)
    }

    @Test func `when all failed the pause is the shortest one, and pauses grow to ten seconds`() {
        var roster = roster([(1, 1), (1, 1)])
        var now = start
        for _ in 0..<12 {
            _ = roster.failed(0, at: now)
            now += .seconds(11)
        }
        now -= .seconds(11)
        #expect(roster.pauseNeeded(at: now) == nil)
        _ = roster.failed(1, at: now)
        let shortest = roster.pauseNeeded(at: now) ?? .zero
        #expect(shortest > .zero && shortest <= .milliseconds(250))
        let longest = roster.entries[0].health.blockedUntil.map { now.duration(to: $0) } ?? .zero
        #expect(longest > .seconds(4) && longest <= .seconds(10))
    }

    @Test func `slots shrink with the relays that cannot be used and grow again`() async {
        let slots = HandOverSlots(capacity: 4)
        slots.limit(to: 1)
        #expect(await slots.acquire(upTo: 4, isEmergency: false) == 1)
        async let waiting = slots.acquire(upTo: 4, isEmergency: false)
        slots.limit(to: 9)
        #expect(await waiting == 3)
        #expect(slots.inUse == 4)
        slots.limit(to: 0)
        slots.release(4)
        async let none = slots.acquire(upTo: 1, isEmergency: true)
        slots.close()
        #expect(await none == 0)
    }
}
