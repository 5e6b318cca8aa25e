import Delivery
import Foundation
import Logging
import Postgres
import Runtime
import TestKit
import Testing

@testable import sender

@Suite("What holds a blast")
struct DispatchHoldTests {
    @Test func `operators pause all sending at the last check; emergencies go on unless they are included`()
        async throws
    {
        let rig = try await DispatchRig.make("operator_pause")
        let general = try await rig.blast(["a", "b"])
        let foreign = try await rig.blast(["a"], district: 8)
        let emergency = try await rig.blast(["a", "b"], isEmergency: true)
        _ = try await rig.verdicts([rig.entry(2, "b")], general)
        try await rig.settle(general, 2, .withdrawn)
        _ = try await rig.owner.query("INSERT INTO operator_pause (begun_by, reason) VALUES ('op', 'relay on fire')")
        for blast in [general, foreign] { #expect(try await rig.wire([rig.entry(1, "a")], blast) == .paused) }
        let queue = ChunkQueue(database: rig.dispatch)
        let retries = RetryQueue(database: rig.dispatch, guardFreshness: .seconds(10))
        #expect(try await queue.take(rig.lease, onlyEmergency: false)?.blast == emergency)
        #expect(try await queue.take(rig.lease, onlyEmergency: false) == nil)
        #expect(try await retries.blastsWithDue(limit: 8).isEmpty)
        #expect(try await rig.verdicts([rig.entry(1, "a")], emergency).map(\.state) == [.wire])
        _ = try await rig.owner.query("UPDATE operator_pause SET includes_emergency = true")
        #expect(try await rig.wire([rig.entry(2, "b")], emergency) == .paused)
        await #expect(throws: PostgresError.self, "one pause at a time") {
            try await rig.owner.query("INSERT INTO operator_pause (begun_by, reason) VALUES ('other', 'again')")
        }

        _ = try await rig.owner.query("UPDATE operator_pause SET ended_at = clock_timestamp(), ended_by = 'op'")
        #expect(try await retries.blastsWithDue(limit: 8).map(\.blast) == [general])
        #expect(try await queue.take(rig.lease, onlyEmergency: false) != nil)
        #expect(try await rig.verdicts([rig.entry(1, "a")], general).map(\.state) == [.wire])
        await rig.close()
    }

    @Test func `a blast that ends while all sending is paused tells its recipients at once`() async throws {
        let rig = try await DispatchRig.make("pause_ends")
        let blast = try await rig.blast(["a"])
        _ = try await rig.owner.query("INSERT INTO operator_pause (begun_by, reason) VALUES ('op', 'why')")
        try await rig.change("UPDATE blast SET cancelled_at = now() WHERE blast_id = $1", blast)
        #expect(try await ChunkQueue(database: rig.dispatch).take(rig.lease, onlyEmergency: false)?.blast == blast)
        #expect(try await rig.verdicts([rig.entry(1, "a")], blast).map(\.fact) == [.cancelled])
        await rig.close()
    }

    @Test func `general mail waits in its district's quiet hours and changes no status; emergencies do not wait`()
        async throws
    {
        let rig = try await DispatchRig.make("quiet")
        let general = try await rig.blast(["a"])
        let emergency = try await rig.blast(["a"], isEmergency: true)
        let foreign = try await rig.blast(["a"], district: 8)
        // An hour before now until two hours after, by the clocks of the district.
        _ = try await rig.owner.query(
            """
            UPDATE district SET time_zone = 'Asia/Kathmandu',
                   quiet_from = (now() AT TIME ZONE 'Asia/Kathmandu')::time - interval '1 hour',
                   quiet_until = (now() AT TIME ZONE 'Asia/Kathmandu')::time + interval '2 hours'
             WHERE district_id = 7
            """)
        let queue = ChunkQueue(database: rig.dispatch)
        var taken: [BlastID] = []
        while let chunk = try await queue.take(rig.lease, onlyEmergency: false) { taken.append(chunk.blast) }
        #expect(taken == [emergency, foreign])
        #expect(try await rig.wire([rig.entry(1, "a")], general) == .paused)
        #expect(try await rig.attempts(general).isEmpty)
        _ = try await rig.owner.query("UPDATE district SET quiet_until = quiet_from + interval '30 minutes'")
        #expect(try await queue.take(rig.lease, onlyEmergency: false)?.blast == general)
        await rig.close()
    }

    @Test(
        arguments: [
            // A usual night, to the second before and the second itself.
            ("2026-11-21T03:00:00Z", "21:00", "07:00", "2026-11-21T13:00:00Z"),
            ("2026-11-21T02:59:59Z", "21:00", "07:00", nil),
            ("2026-11-21T12:59:59Z", "21:00", "07:00", "2026-11-21T13:00:00Z"),
            ("2026-11-21T13:00:00Z", "21:00", "07:00", nil),
            // The night that is an hour shorter, and the one that is an hour longer.
            ("2026-03-08T04:00:00Z", "21:00", "07:00", "2026-03-08T12:00:00Z"),
            ("2026-11-01T03:00:00Z", "21:00", "07:00", "2026-11-01T13:00:00Z"),
            // An end that the clocks show twice is the second; one that they never show is when it would have been.
            ("2026-11-01T06:45:00Z", "21:00", "01:30", "2026-11-01T07:30:00Z"),
            ("2026-11-01T07:30:00Z", "21:00", "01:30", nil),
            ("2026-03-08T08:15:00Z", "21:00", "02:30", "2026-03-08T08:30:00Z"),
            ("2026-03-08T08:30:00Z", "21:00", "02:30", nil),
            // Within a day.
            ("2026-06-08T17:15:00Z", "12:00", "13:00", "2026-06-08T18:00:00Z"),
            ("2026-06-08T18:00:00Z", "12:00", "13:00", nil),
        ] as [(String, String, String, String?)])
    func `quiet hours follow the clocks of the district, through both changes of them`(
        at: String, from: String, until: String, end: String?
    ) async throws {
        let database = try await LocalStack.shared().database("quiet_clock")
        let owner = PostgresConnection(database.owner, name: "owner")
        try await owner.connect()
        let rows = try await owner.query(
            """
            SELECT to_char(quiet_end($1::text::timestamptz, 'America/Chicago', $2::text::time, $3::text::time)
                           AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS quiet_end
            """, [.text(at), .text(from), .text(until)])
        #expect(try rows[0].optionalString("quiet_end") == end)
        await owner.close()
    }

    @Test func `the breaker holds a blast whose addresses come back, and looks again once it was resumed`() async throws
    {
        let rig = try await DispatchRig.make("breaker")
        let blast = try await rig.blast(["a"])
        let emergency = try await rig.blast(["a"], isEmergency: true)
        let good = try await rig.blast(["a"])
        let metrics = SenderMetrics(Metrics())
        let breaker = BlastBreaker(
            database: rig.dispatch, share: 10, after: 500, stallAfter: .seconds(600), metrics: metrics,
            logger: Logger(label: "test"))
        func tally(_ blast: BlastID, sent: Int, bounced: Int, invalid: Int = 0, of audience: Int = 100_000) async throws
        {
            try await rig.change("DELETE FROM blast_count WHERE blast_id = $1", blast)
            _ = try await rig.owner.query(
                "UPDATE blast SET audience = $2 WHERE blast_id = $1", [.uuid(blast), .int(Int64(audience))])
            for (facts, n) in [
                (DeliveryFacts(.pending, .sent), sent), (DeliveryFacts(.pending, .sent, .bounced), bounced),
                (DeliveryFacts(.pending, .invalid), invalid),
            ] {
                _ = try await rig.owner.query(
                    "INSERT INTO blast_count (blast_id, part, facts, district_id, n) VALUES ($1, 0, $2, 7, $3)",
                    [.uuid(blast), .int(facts.bits), .int(Int64(n))])
            }
        }
        func held() async throws -> [BlastID] {
            try await breaker.look()
            return try await rig.owner.query(
                "SELECT blast_id FROM blast WHERE coalesce(resumed_at <= held_at, held_at IS NOT NULL) ORDER BY 1"
            ).map { try $0.blastID("blast_id") }
        }
        // One short of the number, then one short of the share, then both.
        try await tally(blast, sent: 449, bounced: 50)
        #expect(try await held() == [])
        try await tally(blast, sent: 451, bounced: 49)
        try await tally(good, sent: 9000, bounced: 500, invalid: 4000)
        #expect(try await held() == [])
        try await tally(blast, sent: 450, bounced: 50)
        try await tally(emergency, sent: 400, bounced: 400)
        #expect(try await held() == [blast])
        #expect(metrics.breakerTrips.value == 2, "the emergency is reported and not held")
        #expect(metrics.blastsHeld.value == 1)
        #expect(try await rig.wire([rig.entry(1, "a")], blast) == .paused)
        #expect(try await rig.verdicts([rig.entry(1, "a")], emergency).map(\.state) == [.wire])

        try await rig.change("UPDATE blast SET resumed_at = clock_timestamp() WHERE blast_id = $1", blast)
        try await tally(blast, sent: 599, bounced: 400)
        #expect(try await held() == [], "armed again at twice the number")
        #expect(try await rig.verdicts([rig.entry(1, "a")], blast).map(\.state) == [.wire])
        try await tally(blast, sent: 600, bounced: 400)
        #expect(try await held() == [blast])
        let reason = try await rig.owner.query("SELECT held_reason FROM blast WHERE blast_id = $1", [.uuid(blast)])[0]
        #expect(
            try reason.string("held_reason")
                == "Of 1000 tried 400 came back (40.0 %), and of 100000 on the list 0 are invalid (0.0 %)")
        // Invalid ones count as a share of the list, whenever they are found.
        try await tally(good, sent: 9000, bounced: 500, invalid: 6000)
        #expect(Set(try await held()) == [blast, good])
        await rig.close()
    }

    @Test func `a blast that could be sent and hands nothing over is reported once, and time on hold does not count`()
        async throws
    {
        let rig = try await DispatchRig.make("stall")
        let blast = try await rig.blast(["a", "b"])
        let metrics = SenderMetrics(Metrics())
        let breaker = BlastBreaker(
            database: rig.dispatch, share: 10, after: 500, stallAfter: .seconds(600), metrics: metrics,
            logger: Logger(label: "test"))
        func stalled() async throws -> Double {
            try await breaker.look()
            return metrics.blastsStalled.value
        }
        func age() async throws {
            try await rig.change(
                "UPDATE blast SET idle_since = idle_since - interval '601 s' WHERE blast_id = $1", blast)
        }
        #expect(try await stalled() == 0)
        try await age()
        try await rig.change("UPDATE blast SET paused_at = now() WHERE blast_id = $1", blast)
        #expect(try await stalled() == 0)
        try await rig.change("UPDATE blast SET paused_at = NULL WHERE blast_id = $1", blast)
        #expect(try await stalled() == 0)
        try await age()
        #expect(try await stalled() == 1)
        #expect(try await stalled() == 1)
        let reports = try await rig.owner.query("SELECT stall_reported_at > idle_since AS once FROM blast")
        #expect(try reports[0].bool("once"))
        _ = try await rig.verdicts([rig.entry(1, "a")], blast)
        #expect(try await stalled() == 1, "on the wire is not handed over")
        try await rig.settle(blast, 1, .accepted)
        #expect(try await stalled() == 0)
        await rig.close()
    }
}
