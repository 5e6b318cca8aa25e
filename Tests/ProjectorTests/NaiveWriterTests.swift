import Contracts
import Delivery
import Foundation
import Postgres
import Synchronization
import TestKit
import Testing

/// Whoever may update the table at all, by whatever way in.
@Suite(.serialized) struct `Naive writers` {
    @Test func `S-03: no writer moves a status backwards while projectors work and are killed`() async throws {
        let seed = RunSeed.take()
        try await ProjectorRig.with("projector-naive") { rig in
            var random = SeededGenerator(seed: UInt64(seed))
            try await rig.insertBlast(recipients: 30)
            let events = rig.randomEvents(1500, using: &random)
            let isOver = Flag()
            let owner = rig.databaseOf.owner
            let roles = [owner, owner, rig.databaseOf.role("rollcall_projector")]
            let outcome = try await withThrowingTaskGroup(of: Outcome.self) { group in
                for (number, role) in roles.enumerated() {
                    let writerSeed = UInt64(seed * 10 + number)
                    group.addTask { try await Self.write(as: role, number, writerSeed, until: isOver) }
                }
                group.addTask { try await Self.observe(owner, until: isOver) }
                try await Self.abuseProjectors(rig, events, &random)
                isOver.raise()
                return try await group.reduce(into: Outcome()) { $0.add($1) }
            }
            print("\(outcome)")
            #expect(outcome.backward == 0, "ROLLCALL_TEST_SEED=\(seed)")
            #expect(outcome.refused > 100)
            #expect(outcome.written > 100)
            #expect(outcome.observed > 100)

            // The projector meets facts that nobody told it and goes on from them.
            let projector = try rig.startProjector("last")
            try await rig.waitUntilProjected(events.count)
            let told = Dictionary(grouping: events, by: \.delivery.recipientNumber)
            for row in try await rig.database.query("SELECT recipient_no, facts FROM delivery_status") {
                let said = DeliveryFacts((told[try row.int32("recipient_no")] ?? []).map(\.fact))
                #expect(DeliveryFacts(bits: try row.int("facts")).isSuperset(of: said))
            }
            #expect(try await projector.terminate() == 0)
        }
    }

    @Test func `every way in refuses to clear a fact, other roles may not update at all, and none takes a row away`()
        async throws
    {
        try await ProjectorRig.with("projector-ways-in") { rig in
            try await rig.insertBlast(recipients: 3)
            _ = try await rig.database.query("UPDATE delivery_status SET facts = facts | (1 << 20)")
            let days = try await rig.database.query("SELECT tableoid::regclass::text AS day FROM delivery_status")
            let partition = try #require(try days.first?.string("day"))
            let ways = [
                "UPDATE delivery_status SET facts = 1", "UPDATE \(partition) SET facts = 1 | (1 << 30)",
                "UPDATE delivery_status SET facts = facts & ~(1 << 20)::bigint, district_id = district_id",
                """
                INSERT INTO delivery_status (blast_id, recipient_no, district_id)
                SELECT blast_id, recipient_no, 1 FROM delivery_status
                    ON CONFLICT (blast_id, recipient_no) DO UPDATE SET facts = excluded.facts
                """,
                """
                MERGE INTO delivery_status d USING delivery_status s
                      ON d.blast_id = s.blast_id AND d.recipient_no = s.recipient_no
                    WHEN MATCHED THEN UPDATE SET facts = 1
                """,
            ]
            let owner = PostgresConnection(rig.databaseOf.owner, name: "naive")
            try await owner.connect()
            for setting in ["origin", "replica", "local"] {
                _ = try await owner.query("SELECT set_config('session_replication_role', $1, false)", [.text(setting)])
                for way in ways {
                    let refused = await #expect(throws: PostgresError.self, "\(setting): \(way)") {
                        try await owner.query(way)
                    }
                    #expect(refused?.sqlState == "RC001", "\(setting): \(way)")
                }
            }
            await owner.close()
            for role in ["intake", "dispatch", "ingester", "guard", "report"] {
                try await Self.expectRefused(role, ways[0], in: rig)
            }
            #expect(try await rig.number("SELECT min(facts) FROM delivery_status") == 1 | 1 << 20)
            try await Self.expectNoneTakesRowsAway(rig, partition: partition)
        }
    }

    /// Whoever takes a row away and begins it anew has moved its status backwards, too.
    private static func expectNoneTakesRowsAway(_ rig: ProjectorRig, partition: String) async throws {
        for role in ["projector", "dispatch", "ingester", "guard", "report"] {
            try await Self.expectRefused(role, "DELETE FROM delivery_status", in: rig)
        }
        for role in ["projector", "intake", "dispatch", "ingester", "guard", "report"] {
            for way in ["DELETE FROM \(partition)", "TRUNCATE delivery_status", "TRUNCATE \(partition)"] {
                try await Self.expectRefused(role, way, in: rig)
            }
        }
        // Intake replaces the rows of drafts, and even there none that says more than pending.
        try await rig.insertRow(DeliveryID(blast: rig.blast, recipientNumber: 4))
        let intake = PostgresConnection(rig.databaseOf.role("rollcall_intake"), name: "naive")
        try await intake.connect()
        _ = try await intake.query("SELECT set_config('rollcall.district', '1', false)")
        #expect(try await intake.query("SELECT FROM delivery_status").count == 4)
        #expect(try await intake.query("DELETE FROM delivery_status").affectedRows == 0)
        _ = try await rig.database.query("UPDATE blast SET state = 'draft', send_requested_at = NULL")
        #expect(try await intake.query("DELETE FROM delivery_status").affectedRows == 1)
        #expect(try await rig.number("SELECT count(*) FROM delivery_status WHERE facts > 1") == 3)
        await intake.close()
    }

    private static func expectRefused(_ role: String, _ way: String, in rig: ProjectorRig) async throws {
        let connection = PostgresConnection(rig.databaseOf.role("rollcall_\(role)"), name: "naive")
        try await connection.connect()
        let refused = await #expect(throws: PostgresError.self, "\(role): \(way)") { try await connection.query(way) }
        #expect(refused?.sqlState == "42501", "\(role): \(way)")
        await connection.close()
    }

    private final class Flag: Sendable {
        private let value = Atomic(false)
        var isRaised: Bool { value.load(ordering: .sequentiallyConsistent) }
        func raise() { value.store(true, ordering: .sequentiallyConsistent) }
    }

    private struct Outcome: Sendable {
        var refused = 0
        var written = 0
        var observed = 0
        var backward = 0

        mutating func add(_ other: Outcome) {
            refused += other.refused
            written += other.written
            observed += other.observed
            backward += other.backward
        }
    }

    /// Writes whatever set comes to its mind to rows it picks, sometimes an honest union, sometimes to many rows.
    private static func write(
        as role: PostgresConfiguration, _ number: Int, _ seed: UInt64, until isOver: Flag
    ) async throws -> Outcome {
        var random = SeededGenerator(seed: seed)
        var outcome = Outcome()
        let pool = PostgresPool(role, size: 1)
        while !isOver.isRaised {
            let fact = DeliveryFact.allCases.randomElement(using: &random) ?? .sent
            let bits = DeliveryFacts(.pending, fact).bits
            let sql =
                Int.random(in: 0..<4, using: &random) == 0
                ? "UPDATE delivery_status SET facts = facts | $1 WHERE recipient_no = $2"
                : "UPDATE delivery_status SET facts = $1 WHERE recipient_no BETWEEN $2 AND $2 + 1"
            do {
                outcome.written += try await pool.query(
                    sql, [.int(bits), .int(Int64.random(in: 1...30, using: &random))]
                ).affectedRows
            } catch let error as PostgresError where error.sqlState == "RC001" {
                outcome.refused += 1
            } catch let error as PostgresError where error.sqlState == "40P01" {
            }
        }
        await pool.close()
        return outcome
    }

    /// Looks at all sets again and again: each must contain what was there before.
    private static func observe(_ role: PostgresConfiguration, until isOver: Flag) async throws
        -> Outcome
    {
        var outcome = Outcome()
        var before: [Int32: DeliveryFacts] = [:]
        let pool = PostgresPool(role, size: 1)
        while !isOver.isRaised {
            outcome.observed += 1
            for row in try await pool.query("SELECT recipient_no, facts FROM delivery_status") {
                let number = try row.int32("recipient_no")
                let facts = DeliveryFacts(bits: try row.int("facts"))
                if let known = before[number], !facts.isSuperset(of: known) { outcome.backward += 1 }
                for vocabulary in StatusVocabulary.all {
                    guard let known = before[number] else { continue }
                    if vocabulary.shownFact(for: facts).rawValue < vocabulary.shownFact(for: known).rawValue {
                        outcome.backward += 1
                    }
                }
                before[number] = facts
            }
        }
        await pool.close()
        return outcome
    }

    private static func abuseProjectors(
        _ rig: ProjectorRig, _ events: [DeliveryEvent], _ random: inout SeededGenerator
    ) async throws {
        var projectors = [try rig.startProjector("a"), try rig.startProjector("b")]
        for start in stride(from: 0, to: events.count, by: 300) {
            let before = try await rig.number("SELECT sum(next_offset) FROM projector_partition")
            try await rig.produce(Array(events[start..<min(start + 300, events.count)]))
            try await eventually("some events are projected") {
                try await rig.number("SELECT sum(next_offset) FROM projector_partition") > before
            }
            let victim = Int.random(in: 0...1, using: &random)
            try await projectors[victim].kill()
            projectors[victim] = try rig.startProjector(victim == 0 ? "a" : "b")
        }
        for projector in projectors { try await projector.kill() }
    }
}
