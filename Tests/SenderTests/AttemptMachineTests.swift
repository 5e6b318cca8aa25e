import Delivery
import Postgres
import Runtime
import TestKit
import Testing

@testable import sender

@Suite("The attempt machine")
struct AttemptMachineTests {
    /// What becomes of an attempt, by where it stands and what happens; what is not here changes nothing.
    /// `+` another attempt is to follow; a dash stands for an attempt without a row.
    private static let law: [String: [AttemptEvent: String]] = [
        "-": [.wired: "wire", .stopped: "stopped", .heldBack: "requeued+", .timedOut: "timed_out"],
        "wire": [
            .accepted: "accepted", .rejected: "rejected", .deferred: "deferred+", .expired: "deferred",
            .putBack: "requeued+", .withdrawn: "requeued+", .doubted: "in_doubt", .abandoned: "in_doubt",
        ],
        "in_doubt": [
            .accepted: "accepted", .rejected: "rejected", .deferred: "deferred+", .expired: "deferred",
            .putBack: "requeued+", .withdrawn: "requeued+", .proven: "resolved_sent", .refuted: "resolved_not_sent",
            .givenUp: "unknown", .repeated: "resend+",
        ],
        "unknown": [
            .accepted: "accepted", .rejected: "rejected", .proven: "resolved_sent", .refuted: "resolved_not_sent",
        ],
        "resend+": [.accepted: "accepted", .rejected: "rejected", .proven: "resolved_sent", .followed: "resend"],
        "deferred+": [.followed: "deferred"], "requeued+": [.followed: "requeued"],
        "deferred": [:], "requeued": [:], "resend": [:], "accepted": [:], "rejected": [:], "stopped": [:],
        "resolved_sent": [:], "resolved_not_sent": [:], "timed_out": [:],
    ]

    private static let everywhere: [AttemptStanding?] = [nil] + AttemptMachine.standings.map(Optional.some)

    private static func name(_ standing: AttemptStanding?) -> String {
        standing.map { $0.state.rawValue + ($0.isDue ? "+" : "") } ?? "-"
    }

    @Test func `every pair of standing and event has the stated result, or changes nothing`() {
        #expect(Set(Self.everywhere.map(Self.name)) == Set(Self.law.keys))
        for standing in Self.everywhere {
            for event in AttemptEvent.allCases {
                let to = AttemptMachine.move(standing, event)?.to
                #expect(to.map(Self.name) == Self.law[Self.name(standing)]?[event], "\(Self.name(standing)), \(event)")
            }
        }
    }

    @Test func `on every way through the machine the wire comes once, at the beginning, and no fact is stated twice`() {
        var ways = 0
        func follow(_ standing: AttemptStanding?, stated: Set<DeliveryFact>, wires: Int) {
            ways += 1
            for event in AttemptEvent.allCases {
                guard let move = AttemptMachine.move(standing, event) else { continue }
                #expect(move.to != standing, "\(event) at \(Self.name(standing)) leads nowhere")
                #expect(stated.isDisjoint(with: move.facts), "\(event) at \(Self.name(standing)) repeats a fact")
                let isWire = move.to.state == .wire
                #expect(!isWire || standing == nil && event == .wired)
                follow(move.to, stated: stated.union(move.facts), wires: wires + (isWire ? 1 : 0))
            }
            #expect(wires <= 1)
        }
        follow(nil, stated: [], wires: 0)
        #expect(ways > 30)
    }

    @Test func `what was answered, stopped or given a successor never changes again, and everything else can end`() {
        let open = AttemptMachine.standings.filter { standing in
            AttemptEvent.allCases.contains { AttemptMachine.move(standing, $0) != nil }
        }
        #expect(
            Set(open.map(Self.name)) == ["wire", "in_doubt", "unknown", "deferred+", "requeued+", "resend+"])
        for state in [AttemptState.accepted, .rejected, .resolvedSent, .resolvedNotSent, .stopped, .timedOut] {
            #expect(!open.contains(AttemptStanding(state)))
        }
    }

    @Test func `doubt leads to another attempt only by an answer that nothing was taken, or by the declared policy`() {
        func again(from state: AttemptState) -> [AttemptEvent] {
            AttemptEvent.allCases.filter { AttemptMachine.move(AttemptStanding(state), $0)?.to.isDue == true }
        }
        #expect(again(from: .inDoubt) == [.deferred, .putBack, .withdrawn, .repeated])
        #expect(again(from: .unknown).isEmpty)
    }

    @Test func `what may have been handed over holds its content against others, whatever the way there`() {
        let holding = Self.holdings().filter(\.value).keys
        #expect(
            Set(holding.map(Self.name))
                == ["wire", "in_doubt", "accepted", "resolved_sent", "unknown", "resend", "resend+"])
    }

    /// Whether content is held against others, by the standing of the attempt that took it.
    private static func holdings() -> [AttemptStanding: Bool] {
        var holdings: [AttemptStanding: Bool] = [:]
        func follow(_ standing: AttemptStanding?, holds: Bool) {
            if let standing {
                #expect(holdings[standing] ?? holds == holds, "\(name(standing)) depends on the way to it")
                holdings[standing] = holds
            }
            for event in AttemptEvent.allCases {
                guard let move = AttemptMachine.move(standing, event) else { continue }
                follow(move.to, holds: move.claim.map { $0 == .taken } ?? holds)
            }
        }
        follow(nil, holds: false)
        return holdings
    }

    @Test func `a settlement states only what its event allows`() {
        for outcome in SettledOutcome.allCases {
            let settlement = outcome.settlement(
                DeliveryID(blast: BlastID(high: 1, low: 1), recipientNumber: 1), 1, LeaseToken(high: 1, low: 1))
            #expect(Settlement.events.contains(settlement.event))
            let move = AttemptMachine.result(of: settlement.event)
            #expect(settlement.fact.map { move?.facts.contains($0) == true } ?? (move?.facts.isEmpty == true))
            #expect((settlement.retryAfter != nil) == move?.to.isDue)
        }
    }

    // MARK: The statements

    /// One row in every standing; recipients are numbered in the machine's order.
    private static func everyStanding(_ rig: DispatchRig, policy: String = "at_most_once") async throws -> BlastID {
        let standings = AttemptMachine.standings
        let names = standings.indices.map { "a\($0)-\(UInt32.random(in: 0...(.max)))@x.example" }
        let blast = try await rig.blast(names, policy: policy)
        _ = try await rig.owner.query(
            """
            INSERT INTO attempt (blast_id, recipient_no, attempt_no, district_id, chunk_no, state, lease_token,
                                 address_hash, wire_at, settled_at, next_at)
            SELECT $1, o, 1, 7, 1, s, $4::text::uuid, h, now() - interval '1 hour', now() - interval '1 hour',
                   CASE WHEN due THEN now() END
              FROM unnest($2::text[], $3::bool[], $5::bytea[]) WITH ORDINALITY AS u(s, due, h, o)
            """,
            [
                .uuid(blast), .textArray(standings.map(\.state.rawValue)), .boolArray(standings.map(\.isDue)),
                .text(rig.lease.description), .byteaArray(names.map { DispatchRig.hash($0) }),
            ])
        return blast
    }

    /// Compares every row with what the machine makes of it.
    private static func expect(
        _ rig: DispatchRig, _ blast: BlastID, after event: AttemptEvent, facts: Bool = true
    ) async throws {
        let rows = try await rig.owner.query(
            """
            SELECT state, next_at IS NOT NULL AS due, fact FROM attempt WHERE blast_id = $1 AND attempt_no = 1
             ORDER BY recipient_no
            """, [.uuid(blast)])
        try #require(rows.count == AttemptMachine.standings.count)
        for (row, before) in zip(rows, AttemptMachine.standings) {
            let state = try #require(AttemptState(rawValue: try row.string("state")))
            let move = AttemptMachine.move(before, event)
            let now = AttemptStanding(state, isDue: try row.bool("due"))
            #expect(now == move?.to ?? before, "\(event) at \(name(before))")
            let fact = try row.optionalInt("fact").flatMap { DeliveryFact(rawValue: UInt8($0)) }
            #expect(fact.map { move?.facts.contains($0) == true } ?? (move?.facts.isEmpty ?? true), "\(event)")
        }
    }

    @Test func `what senders write does to every standing what the machine says`() async throws {
        let rig = try await DispatchRig.make("machine_outcomes")
        for outcome in SettledOutcome.allCases {
            let blast = try await Self.everyStanding(rig)
            for number in AttemptMachine.standings.indices {
                try await rig.settle(blast, Int32(number + 1), outcome)
            }
            let sample = outcome.settlement(DeliveryID(blast: blast, recipientNumber: 1), 1, rig.lease)
            try await Self.expect(rig, blast, after: sample.event)
        }
        let blast = try await Self.everyStanding(rig)
        _ = try await rig.wire(
            AttemptMachine.standings.indices.map { rig.entry(Int32($0 + 1), "w\($0)@x.example", attempt: 2) }, blast)
        try await Self.expect(rig, blast, after: .followed)
        await rig.close()
    }

    @Test func `whether content is on its way, handed over or free is read from its attempt as the machine says`()
        async throws
    {
        let rig = try await DispatchRig.make("machine_claims")
        let holdings = Self.holdings()
        let blast = try await Self.everyStanding(rig)
        let rows = try await rig.dispatch.query(
            """
            SELECT at IS NULL AS is_on_its_way, at = 'epoch' AS is_free
              FROM attempt CROSS JOIN LATERAL handed_over_at(blast_id, recipient_no, 'epoch') AS handed_over (at)
             WHERE blast_id = $1 ORDER BY recipient_no
            """, [.uuid(blast)])
        try #require(rows.count == AttemptMachine.standings.count)
        for (row, standing) in zip(rows, AttemptMachine.standings) {
            #expect(try row.bool("is_on_its_way") == (standing.state == .wire), "\(Self.name(standing))")
            let isFree = try standing.state != .wire && row.bool("is_free")
            #expect(holdings[standing] == !isFree, "\(Self.name(standing))")
        }
        await rig.close()
    }

    @Test func `what the reaper and the operator settle does to every standing what the machine says`() async throws {
        let rig = try await DispatchRig.make("machine_reaper")
        let limit = PostgresParameter.int(100)
        let abandoned = try await Self.everyStanding(rig)
        _ = try await rig.dispatch.query(Reaper.abandon, [.int(1), limit, .int(1)])
        try await Self.expect(rig, abandoned, after: .abandoned)
        for (policy, event) in [("at_most_once", AttemptEvent.givenUp), ("at_least_once", .repeated)] {
            let blast = try await Self.everyStanding(rig, policy: policy)
            _ = try await rig.dispatch.query(Reaper.resolveByPolicy, [.int(1), limit])
            try await Self.expect(rig, blast, after: event)
        }
        for (wasSent, event) in [(true, AttemptEvent.proven), (false, .refuted)] {
            let blast = try await Self.everyStanding(rig)
            _ = try await rig.owner.query(
                """
                INSERT INTO doubt_settlement (blast_id, recipient_no, attempt_no, was_sent, reason, actor)
                SELECT blast_id, recipient_no, attempt_no, $2, 'asked them', 'test' FROM attempt WHERE blast_id = $1
                """, [.uuid(blast), .bool(wasSent)])
            for _ in 0..<2 { _ = try await rig.dispatch.query(Reaper.resolveByOperator, [limit]) }
            try await Self.expect(rig, blast, after: event)
        }
        await rig.close()
    }
}
