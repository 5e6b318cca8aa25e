import Logging
import Mail
import NIOPosix
import Postgres
import Runtime
import SMTP
import TestKit
import Testing

@testable import sender

@Suite("Rates of relays", .timeLimit(.minutes(2)))
struct RelayPaceTests {
    private static func window(_ n: Int) -> [String] { Array(repeating: "home.example", count: n) }

    private static func granted(_ room: SendRates.Room) -> Int { room.mayGo.count { $0 } }

    private static func rate(_ rig: DispatchRig, _ scope: String) async throws -> Double? {
        try await rig.owner.query("SELECT per_second FROM send_rate WHERE scope = $1", [.text(scope)]).first?
            .double("per_second")
    }

    @Test func `four senders together hand no more over their relays in a second than the rates of these`() async throws
    {
        let rig = try await DispatchRig.make("relay_rates")
        let ceilings = ["relay:first": 15, "relay:spare": 5]
        let senders = (0..<4).map { _ in SendRates(database: rig.dispatch, ceilings: ceilings) }
        for sender in senders { try await sender.look() }
        func second() async throws -> Int64 {
            try await rig.owner.query("SELECT floor(extract(epoch FROM clock_timestamp()))::bigint AS s")[0].int("s")
        }
        let began = try await second()
        let granted = try await withThrowingTaskGroup(of: Int.self) { group in
            for sender in senders {
                group.addTask {
                    var granted = 0
                    for _ in 0..<25 {
                        let room = try await sender.room(for: Self.window(8), isEmergency: false) { n in
                            ["first": n / 2, "spare": n - n / 2]
                        }
                        granted += Self.granted(room)
                        #expect(room.isOver == (Self.granted(room) < 8) && (!room.isOver || room.wait > .zero))
                    }
                    return granted
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(granted <= 20 * Int(try await second() - began + 1))
        #expect(granted >= 20, "what one relay had no room for went to the other")
        await rig.close()
    }

    @Test func `a relay without a rate takes the rest, and emergencies wait for no relay's rate`() async throws {
        let rig = try await DispatchRig.make("relay_rates_rest")
        let rates = SendRates(database: rig.dispatch, ceilings: ["relay:spare": 1])
        try await rates.look()
        let beside = try await rates.room(for: Self.window(50), isEmergency: false) {
            ["first": $0 / 2, "spare": $0 / 2]
        }
        #expect(Self.granted(beside) == 50 && !beside.isOver)
        let urgent = try await rates.room(for: Self.window(50), isEmergency: true) { ["spare": $0] }
        #expect(Self.granted(urgent) == 50)
        let alone = try await rates.room(for: Self.window(50), isEmergency: false) { ["spare": $0] }
        #expect(Self.granted(alone) <= 1 && alone.isOver)
        await rig.close()
    }

    @Test func `a relay that takes messages and refuses others for now is slowed for all senders, and recovers`()
        async throws
    {
        let rig = try await DispatchRig.make("relay_rates_adapt")
        let pace = RelayPace()
        let rates = SendRates(database: rig.dispatch, ceilings: [:], pace: pace)
        let other = RelayPace()
        let elsewhere = SendRates(database: rig.dispatch, ceilings: [:], pace: other)
        let now = ContinuousClock.now
        for n in 0..<100 { pace.saw("busy", isTaken: n % 3 != 1, asksForLess: n % 3 == 1, at: now) }
        for n in 0..<100 { pace.saw("fine", isTaken: n % 10 != 1, asksForLess: n % 10 == 1, at: now) }
        pace.saw("gone", isTaken: true, asksForLess: false, at: now)
        for _ in 0..<100 { pace.saw("gone", isTaken: false, asksForLess: true, at: now + .seconds(2)) }
        #expect(!pace.isSpent("busy"))
        try await rates.look()
        try await elsewhere.look()
        #expect(try await Self.rate(rig, "relay:busy") == 50, "half of what it got")
        #expect(try await Self.rate(rig, "relay:fine") == nil)
        #expect(try await Self.rate(rig, "relay:gone") == nil, "what takes nothing at all is out of order, not hurried")
        #expect(pace.isSpent("busy") && other.isSpent("busy") && !pace.isSpent("fine"))
        _ = try await rig.owner.query(
            "UPDATE send_rate SET changed_at = changed_at - interval '11 s', refused_at = refused_at - interval '11 s'")
        try await rates.look()
        #expect(try await Self.rate(rig, "relay:busy") == 55)
        _ = try await rig.owner.query("UPDATE send_rate SET refused_at = refused_at - interval '10 min'")
        for _ in 0..<2 { try await rates.look() }
        #expect(try await Self.rate(rig, "relay:busy") == nil && !pace.isSpent("busy"))
        await rig.close()
    }

    @Test func `credit and debt of a relay are never more than a second's worth`() {
        let pace = RelayPace()
        pace.limit(to: ["spare": 3])
        for _ in 0..<9 { pace.spend("spare") }
        #expect(pace.debt(of: "spare") == 3 && pace.isSpent("spare"))
        for _ in 0..<9 { pace.add(2, to: "spare") }
        #expect(!pace.isSpent("spare") && pace.debt(of: "spare") == 0)
        for _ in 0..<3 { pace.spend("spare") }
        #expect(pace.isSpent("spare"))
        pace.limit(to: [:])
        #expect(!pace.isSpent("spare"))
    }

    @Test func `a relay whose rate is used up gets a message only when there is no other`() async throws {
        let servers = [try await RelayServer(.working), try await RelayServer(.working)]
        let ways = servers.enumerated().map { index, server in
            var smtp = SMTPConfiguration(host: "127.0.0.1", port: server.port, heloName: "test.example")
            smtp.maxConnections = 2
            return Way(
                RelayConfiguration(name: "relay\(index)", weight: 1, smtp: smtp),
                eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
        }
        let pace = RelayPace()
        pace.limit(to: ["relay1": 2])
        pace.add(2, to: "relay1")
        let slots = HandOverSlots(capacity: 4)
        let relays = Relays(
            ways, slots: slots, pace: pace, metrics: SenderMetrics(Metrics()), logger: Logger(label: "test"))
        func deliver() async {
            let message = ComposedMessage(
                envelope: SMTPEnvelope(sender: "b@bounce.example", recipient: "jane@home.example"),
                octets: Array("Subject: x\r\n\r\nx\r\n".utf8))
            let outcome = await relays.deliver(
                message, deadline: .now + .seconds(20), beforeDot: {}, afterDot: {}
            ).outcome
            #expect(outcome.isTaken, "\(outcome)")
        }
        for _ in 0..<10 { await deliver() }
        #expect(servers.map(\.state.texts.count) == [8, 2])
        servers[0].become(.refusing)
        try await servers[0].stop()
        for _ in 0..<3 { await deliver() }
        #expect(servers[0].state.texts.count + servers[1].state.texts.count == 13)
        await relays.close()
        try await servers[1].stop()
    }

    @Test(arguments: [
        (SMTPStage.greeting, 421, true), (.hello, 450, true), (.mail, 451, true), (.recipient, 451, false),
        (.dot, 421, false),
    ])
    func `before a recipient is named a 4xx is about the relay, later about the recipient's domain`(
        _ stage: SMTPStage, _ code: Int, _ isAboutRelay: Bool
    ) {
        let outcome = SMTPOutcome.deferred(SMTPReply(code: code, lines: ["4.7.0 slow down"]), stage: stage, reason: "")
        #expect(outcome.isRelayAskingForLess == isAboutRelay)
        #expect(!SMTPOutcome.deferred(nil, stage: stage, reason: "no answer").isRelayAskingForLess)
    }

    @Test func `relays are shared out by weight among those that work, and among all when none does`() {
        var roster = RelayRoster([.init(weight: 3, connections: 1), .init(weight: 1, connections: 1)])
        var single = [0, 0]
        for _ in 0..<8 { for (index, n) in roster.shares(of: 1, among: [0, 1]) { single[index] += n } }
        #expect(single == [6, 2], "one at a time as many at once")
        #expect(roster.shares(of: 8, among: [0, 1]) == [0: 6, 1: 2])
        _ = roster.failed(0, at: .now)
        #expect(roster.shares(of: 8, among: [0, 1]) == [1: 8])
        _ = roster.failed(1, at: .now)
        #expect(roster.shares(of: 8, among: [0, 1]).values.reduce(0, +) == 8)
    }
}
