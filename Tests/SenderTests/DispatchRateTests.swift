import Delivery
import Mail
import Postgres
import Runtime
import SMTP
import TestKit
import Testing

@testable import sender

@Suite("Rates")
struct DispatchRateTests {
    private static func rate(_ rig: DispatchRig, _ scope: String) async throws -> Double? {
        try await rig.owner.query("SELECT per_second FROM send_rate WHERE scope = $1", [.text(scope)]).first?
            .double("per_second")
    }

    private static func second(_ rig: DispatchRig) async throws -> Int64 {
        try await rig.owner.query("SELECT floor(extract(epoch FROM clock_timestamp()))::bigint AS s")[0].int("s")
    }

    @Test(arguments: ["slow.example", SendRates.everybody])
    func `four senders together take no more of a second than its rate`(scope: String) async throws {
        let rig = try await DispatchRig.make("rates_shared")
        let senders = (0..<4).map { _ in SendRates(database: rig.dispatch, ceilings: [scope: 20]) }
        for sender in senders { try await sender.look() }
        let window = Array(repeating: "slow.example", count: 7)
        let began = try await Self.second(rig)
        let granted = try await withThrowingTaskGroup(of: Int.self) { group in
            for sender in senders {
                group.addTask {
                    var granted = 0
                    for _ in 0..<25 {
                        let room = try await sender.room(for: window, isEmergency: false)
                        granted += room.mayGo.count { $0 }
                        #expect(room.wait > .zero || room.mayGo.allSatisfy { $0 })
                    }
                    return granted
                }
            }
            return try await group.reduce(0, +)
        }
        let seconds = try await Self.second(rig) - began + 1
        #expect(granted <= 20 * seconds)
        #expect(granted >= 20, "the first second was used")
        await rig.close()
    }

    @Test func `who waited for the others into the next second takes no more of it than is left`() async throws {
        let rig = try await DispatchRig.make("rates_late")
        let rates = SendRates(database: rig.dispatch, ceilings: ["slow.example": 20])
        try await rates.look()
        let other = PostgresConnection(rig.database.owner, name: "other")
        try await other.connect()
        try await other.execute(script: "BEGIN; SELECT FROM send_rate FOR UPDATE")
        async let room = rates.room(for: Array(repeating: "slow.example", count: 7), isEmergency: false)
        try await eventually("it waits for the row") {
            try await rig.owner.query(
                """
                SELECT count(*) AS n FROM pg_stat_activity
                 WHERE datname = current_database() AND usename = 'rollcall_dispatch' AND wait_event_type = 'Lock'
                """)[0].int("n") == 1
        }
        let second = try await Self.second(rig)
        try await eventually("the second is over") { try await Self.second(rig) > second }
        try await other.execute(
            script: "UPDATE send_rate SET slice = date_trunc('second', clock_timestamp()), taken = 20; COMMIT")
        #expect(try await room.mayGo.allSatisfy { !$0 })
        await other.close()
        await rig.close()
    }

    @Test func `other domains have room beside a slow one, and emergencies take theirs without waiting`() async throws {
        let rig = try await DispatchRig.make("rates_mixed")
        let rates = SendRates(database: rig.dispatch, ceilings: ["slow.example": 1])
        try await rates.look()
        let room = try await rates.room(
            for: ["slow.example", "fast.example", "slow.example", "slow.example", "fast.example"], isEmergency: false)
        #expect(room.mayGo[1] && room.mayGo[4])
        #expect(room.mayGo.count { $0 } <= 3)
        #expect(!room.isOver)
        let cancelled = try await rates.room(
            for: Array(repeating: "slow.example", count: 9), isEmergency: false, hasEnded: true)
        #expect(cancelled.mayGo.allSatisfy { $0 }, "who is only told needs no room")
        let urgent = try await rates.room(for: Array(repeating: "slow.example", count: 9), isEmergency: true)
        #expect(urgent.mayGo.allSatisfy { $0 })
        await rig.close()
    }

    @Test func `a domain that refuses for now is slowed by half, again while it goes on, and recovers step by step`()
        async throws
    {
        let rig = try await DispatchRig.make("rates_adapt")
        let rates = SendRates(database: rig.dispatch, ceilings: ["known.example": 100])
        func say(_ domain: String, _ outcomes: Int, refused: Int) {
            for n in 0..<outcomes { rates.sawOutcome(of: domain, isRefusedForNow: n < refused) }
        }
        func age(_ time: String) async throws {
            _ = try await rig.owner.query(
                """
                UPDATE send_rate SET changed_at = changed_at - $1::text::interval, refused_at = refused_at - $1::text::interval
                """, [.text(time)])
        }
        try await rates.look()
        say("fine.example", 100, refused: 19)
        say("few.example", 4, refused: 4)
        say("busy.example", 400, refused: 100)
        say("known.example", 10, refused: 10)
        try await rates.look()
        #expect(try await Self.rate(rig, "fine.example") == nil)
        #expect(try await Self.rate(rig, "few.example") == nil)
        #expect(try await Self.rate(rig, "busy.example") == 200, "half of what it got")
        #expect(try await Self.rate(rig, "known.example") == 100, "set a moment ago")
        say("busy.example", 10, refused: 10)
        try await rates.look()
        #expect(try await Self.rate(rig, "busy.example") == 200, "once in five seconds")
        try await age("6 s")
        say("busy.example", 10, refused: 10)
        say("known.example", 10, refused: 10)
        try await rates.look()
        #expect(try await Self.rate(rig, "busy.example") == 100)
        #expect(try await Self.rate(rig, "known.example") == 50)
        for expected in [110.0, 120] {
            try await age("11 s")
            try await rates.look()
            #expect(try await Self.rate(rig, "busy.example") == expected)
        }
        #expect(try await Self.rate(rig, "known.example") == 60)
        try await age("10 min")
        try await rates.look()
        #expect(try await Self.rate(rig, "busy.example") == nil, "as fast as it comes again")
        #expect(try await Self.rate(rig, "known.example") == 65)
        await rig.close()
    }

    @Test(arguments: [
        (452, "4.2.2 Mailbox full", false), (450, "4.1.2 No such domain now", false), (421, "4.7.0 Too many", true),
        (451, "4.3.0 Busy", true), (450, "Try later", true),
    ])
    func `a full mailbox says nothing about its domain, an answer about the server or our pace does`(
        code: Int, text: String, asks: Bool
    ) {
        let settlement = Settlement(
            .deferred(SMTPReply(code: code, lines: [text]), stage: .recipient, reason: ""),
            delivery: DeliveryID(blast: BlastID(high: 1, low: 1), recipientNumber: 1), attempt: 1, deferrals: 0,
            schedule: RetrySchedule(delays: [.seconds(60)]))
        #expect(settlement.asksForLess == asks)
    }

    @Test func `what finds no room waits in its row: a chunk and a retry are put off without an attempt`() async throws
    {
        let rig = try await DispatchRig.make("rates_wait")
        let blast = try await rig.blast(["a@slow.example", "b@slow.example"])
        let other = try await rig.blast(["c"])
        let queue = ChunkQueue(database: rig.dispatch)
        let chunk = try #require(try await queue.take(rig.lease, onlyEmergency: false))
        #expect(chunk.blast == blast)
        try await queue.postpone(chunk, rig.lease, for: .seconds(60))
        #expect(try await queue.take(rig.lease, onlyEmergency: false)?.blast == other)
        #expect(try await queue.take(rig.lease, onlyEmergency: false) == nil)
        try await rig.change("UPDATE chunk SET not_before = now() WHERE blast_id = $1", blast)
        #expect(try await queue.take(rig.lease, onlyEmergency: false)?.blast == blast)

        _ = try await rig.verdicts([rig.entry(1, "a@slow.example")], blast)
        try await rig.settle(blast, 1, .withdrawn)
        let retries = RetryQueue(database: rig.dispatch, guardFreshness: .seconds(10))
        _ = try await retries.pull(upTo: 10, of: blast, over: Channel.allCases) { due, connection in
            try await retries.postpone(due, of: blast, for: .seconds(60), on: connection)
            return .decided([])
        }
        #expect(try await rig.attempts(blast) == ["1/1 requeued due"])
        #expect(try await retries.blastsWithDue(limit: 8).isEmpty)
        await rig.close()
    }

    @Test(
        arguments: [
            ("*=100, Gmail.com=20", ["*": 100, "gmail.com": 20]), ("relay:Spare=5", ["relay:Spare": 5]),
            ("gmail.com=0", nil), ("gmail.com", nil), ("=5", nil),
            ("a.example=1,a.example=2", nil), ("", nil),
        ] as [(String, [String: Int]?)])
    func `rates are read as operators write them`(text: String, rates: [String: Int]?) {
        #expect(RateList.parse(.text(text)) == rates)
    }
}
