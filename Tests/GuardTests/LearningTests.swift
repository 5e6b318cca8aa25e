import Contracts
import Delivery
import Postgres
import Testing

@testable import blacklist_guard

@Suite struct `Learning about addresses` {
    private func district() async throws -> District { try await GuardRig.shared.value.district() }

    @Test(arguments: [
        (DeliveryFact.bounced, "bounce"), (.bouncedInvalid, "bounce"), (.complained, "complaint"),
    ])
    func `I-27, I-28: a hard bounce or a complaint blocks at once`(fact: DeliveryFact, reason: String) async throws {
        let district = try await district()
        let blast = try await district.blast([.usable("a@x.example")])
        #expect(try await district.report(fact, blast) == 1)
        #expect(try await district.entry("a@x.example") == .init(reason: reason, isActive: true, causes: 1))
    }

    @Test func `the same news again, under the same or another id, is no second cause`() async throws {
        let district = try await district()
        let blast = try await district.blast([.usable("a@x.example")])
        try await district.report(.bounced, blast, id: "one")
        #expect(try await district.report(.bounced, blast, id: "one") == 0)
        #expect(try await district.report(.bounced, blast, id: "two") == 0)
        #expect(try await district.entry("a@x.example")?.causes == 1)
    }

    @Test func `many events at once, repeated ones among them, count once each`() async throws {
        let district = try await district()
        let blast = try await district.blast([
            .usable("a@x.example"), .usable("b@x.example"), .usable("A@x.example"), .without,
        ])
        let lessons = [1, 2, 3, 1, 4, 9].map { number in
            Lesson(
                delivery: DeliveryID(blast: blast, recipientNumber: Int32(number)), fact: .bounced,
                eventID: "e\(number)", occurredAtMicroseconds: 1_800_000_000_000_000)
        }
        #expect(try await district.rig.ledger.learn(lessons) == 2)
        #expect(try await district.entry("a@x.example")?.causes == 2)
        #expect(try await district.entry("b@x.example")?.causes == 1)
    }

    @Test func `a complaint replaces the reason of a blocked address, a bounce does not`() async throws {
        let district = try await district()
        let first = try await district.blast([.usable("a@x.example")])
        let second = try await district.blast([.usable("a@x.example")])
        try await district.report(.bounced, first)
        try await district.report(.complained, first)
        try await district.report(.bounced, second)
        #expect(try await district.entry("a@x.example") == .init(reason: "complaint", isActive: true, causes: 3))
    }

    @Test func `after a reset repeated news never blocks again, a new bounce does`() async throws {
        let district = try await district()
        let blast = try await district.blast([.usable("a@x.example")])
        let later = try await district.blast([.usable("a@x.example")])
        try await district.report(.bounced, blast, id: "one")
        #expect(try await district.command(.blacklistReset, "a@x.example") == "The block was lifted.")
        try await district.report(.bounced, blast, id: "one")
        try await district.report(.bounced, blast, id: "another")
        #expect(try await district.entry("a@x.example")?.isActive == false)
        #expect(try await district.report(.bounced, later) == 1)
        #expect(try await district.entry("a@x.example") == .init(reason: "bounce", isActive: true, causes: 2))
    }

    @Test func `a cause from before the reset that arrives late is kept and blocks nobody`() async throws {
        let district = try await district()
        let blast = try await district.blast([.usable("a@x.example")])
        let other = try await district.blast([.usable("a@x.example")])
        try await district.report(.bounced, blast)
        _ = try await district.command(.blacklistReset, "a@x.example")
        #expect(try await district.report(.complained, other, secondsAgo: 3_600) == 0)
        #expect(try await district.report(.complained, other, id: "again", secondsAgo: 0) == 0)
        #expect(try await district.entry("a@x.example")?.isActive == false)
        let causes = try await district.rig.owner.query(
            "SELECT FROM blacklist_cause WHERE district_id = $1", [.int(district.id.number)])
        #expect(causes.count == 2)
    }

    @Test func `an event dated in the future counts as of now, so a later reset outlives it`() async throws {
        let district = try await district()
        let blast = try await district.blast([.usable("a@x.example")])
        let other = try await district.blast([.usable("a@x.example")])
        try await district.report(.bounced, blast, secondsAgo: -86_400)
        _ = try await district.command(.blacklistReset, "a@x.example")
        try await district.report(.bounced, other, secondsAgo: 60)
        #expect(try await district.entry("a@x.example")?.isActive == false)
    }

    @Test func `three expired deliveries within the window block, two or an old third do not`() async throws {
        let district = try await district()
        var blasts: [BlastID] = []
        for _ in 0..<4 { blasts.append(try await district.blast([.usable("a@x.example")])) }
        try await district.report(.expired, blasts[0], secondsAgo: 91 * 86_400)
        try await district.report(.expired, blasts[1], secondsAgo: 10)
        try await district.report(.expired, blasts[1], id: "again", secondsAgo: 5)
        try await district.report(.expired, blasts[2], secondsAgo: 5)
        #expect(try await district.entry("a@x.example") == nil)
        try await district.report(.expired, blasts[3])
        #expect(try await district.entry("a@x.example")?.reason == "bounce")
        _ = try await district.command(.blacklistReset, "a@x.example")
        let next = try await district.blast([.usable("a@x.example")])
        try await district.report(.expired, next)
        #expect(try await district.entry("a@x.example")?.isActive == false)
    }

    @Test func `guards that learn of the deciding deliveries at the same moment still block`() async throws {
        let district = try await district()
        let recipients = (1...20).map { GuardRig.Listed.usable("r\($0)@x.example") }
        var blasts: [BlastID] = []
        for _ in 0..<3 { blasts.append(try await district.blast(recipients)) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for blast in blasts {
                group.addTask {
                    for number in 1...20 { try await district.report(.expired, blast, Int32(number)) }
                }
            }
            try await group.waitForAll()
        }
        for number in 1...20 { #expect(try await district.entry("r\(number)@x.example")?.isActive == true) }
    }

    @Test func `an opt-out is for the blast's category, from a general blast for all`() async throws {
        let district = try await district()
        let news = try await district.blast([.usable("a@x.example")], category: "newsletter")
        let general = try await district.blast([.usable("b@x.example")])
        try await district.report(.optedOut, news)
        try await district.report(.optedOut, general)
        #expect(try await district.report(.optedOut, general, id: "again") == 0)
        let rows = try await district.rig.owner.query(
            "SELECT category FROM opt_out WHERE district_id = $1 AND active ORDER BY category",
            [.int(district.id.number)])
        #expect(Set(try rows.map { try $0.string("category") }) == ["*", "newsletter"])
        #expect(try await district.entry("a@x.example") == nil)
    }

    @Test func `an old opt-out that is repeated does not undo a later return`() async throws {
        let district = try await district()
        let blast = try await district.blast([.usable("a@x.example")])
        try await district.report(.optedOut, blast, secondsAgo: 60)
        _ = try await district.rig.owner.query(
            "UPDATE opt_out SET active = false, occurred_at = clock_timestamp() WHERE district_id = $1",
            [.int(district.id.number)])
        #expect(try await district.report(.optedOut, blast, secondsAgo: 60) == 0)
        #expect(try await district.report(.optedOut, blast, id: "new") == 1)
    }
}

@Suite struct `Commands of staff` {
    private func district() async throws -> District { try await GuardRig.shared.value.district() }

    @Test func `a command is carried out once`() async throws {
        let district = try await district()
        let id = "018f3a52-7a54-7c1e-8000-\(String(district.id.number + 100_000_000_000, radix: 16).suffix(9))abc"
        #expect(try await district.command(.blacklistAdd, "a@x.example", id: id) == "The address was blocked.")
        #expect(try await district.command(.blacklistReset, "a@x.example") == "The block was lifted.")
        #expect(try await district.command(.blacklistAdd, "a@x.example", id: id) == nil)
        #expect(try await district.entry("a@x.example") == .init(reason: "manual", isActive: false, causes: 0))
        #expect(try await district.command(.blacklistReset, "a@x.example") == "The address was not blocked.")
    }

    @Test func `blocking under another address's hash is refused`() async throws {
        let district = try await district()
        let other = try await self.district()
        let elsewhere = District(rig: district.rig, id: district.id, hasher: other.hasher)
        await #expect(throws: CommandLedger.Refusal.self) {
            try await elsewhere.command(.blacklistAdd, "a@x.example")
        }
        #expect(try await district.entry("a@x.example") == nil)
    }
}
