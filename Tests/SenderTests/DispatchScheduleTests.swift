import Delivery
import Logging
import Postgres
import Runtime
import TestKit
import Testing

@testable import sender

@Suite("Schedule and timeouts")
struct DispatchScheduleTests {
    private static func state(_ rig: DispatchRig, _ blast: BlastID) async throws -> String {
        try await BlastReleaser(database: rig.dispatch, logger: Logger(label: "test")).release()
        return try await rig.owner.query("SELECT state FROM blast WHERE blast_id = $1", [.uuid(blast)])[0].string(
            "state")
    }

    @Test(
        arguments: [
            ("state = 'scheduled', send_at = clock_timestamp() + interval '1 minute'", "scheduled", nil),
            ("state = 'scheduled', send_at = clock_timestamp()", "sending", AttemptState.wire),
            (
                "state = 'scheduled', send_at = clock_timestamp() + interval '1 day', cancelled_at = now()", "sending",
                .stopped
            ),
            (
                "state = 'scheduled', send_at = clock_timestamp() + interval '1 day', not_after = now()", "sending",
                .stopped
            ),
            (
                "state = 'awaiting_approval', approval_until = clock_timestamp() + interval '1 minute'",
                "awaiting_approval", nil
            ),
            ("state = 'awaiting_approval', approval_until = clock_timestamp()", "sending", .stopped),
            (
                "state = 'awaiting_approval', approval_until = clock_timestamp() + interval '1 day', cancelled_at = now()",
                "sending", .stopped
            ),
        ] as [(String, String, AttemptState?)])
    func `what waited begins when its time has come, and also when it ended: then its recipients are told`(
        change: String, state: String, attempt: AttemptState?
    ) async throws {
        let rig = try await DispatchRig.make("release")
        let blast = try await rig.blast(["a"])
        try await rig.change("UPDATE blast SET \(change) WHERE blast_id = $1", blast)
        let queue = ChunkQueue(database: rig.dispatch)
        #expect(try await queue.take(rig.lease, onlyEmergency: false) == nil)
        #expect(try await rig.wire([rig.entry(1, "a")], blast) == .notSending)
        #expect(try await Self.state(rig, blast) == state)
        if let attempt {
            #expect(try await queue.take(rig.lease, onlyEmergency: false)?.blast == blast)
            #expect(try await rig.verdicts([rig.entry(1, "a")], blast).map(\.state) == [attempt])
        } else {
            #expect(try await queue.take(rig.lease, onlyEmergency: false) == nil)
        }
        await rig.close()
    }

    @Test func `many senders release a blast once`() async throws {
        let rig = try await DispatchRig.make("release_race")
        let blast = try await rig.blast(["a"])
        try await rig.change("UPDATE blast SET state = 'scheduled', send_at = now() WHERE blast_id = $1", blast)
        let released = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<8 { group.addTask { try await rig.dispatch.query(BlastReleaser.release).count } }
            return try await group.reduce(0, +)
        }
        #expect(released == 1)
        await rig.close()
    }

    @Test func `the guard is not asked before a scheduled blast begins, and then from that moment on`() async throws {
        let rig = try await DispatchRig.make("ask_later")
        let blast = try await rig.blast(["a"])
        try await rig.change("UPDATE chunk SET state = 'requested' WHERE blast_id = $1", blast)
        try await rig.change(
            """
            UPDATE blast SET state = 'scheduled', send_requested_at = now() - interval '29 days',
                             send_at = now() + interval '1 minute' WHERE blast_id = $1
            """, blast)
        func asked() async throws -> Int {
            try await rig.dispatch.query(ChunkPublisher.unreported, [.int(10), .int(10_000_000)]).count
        }
        #expect(try await asked() == 0)
        try await rig.change("UPDATE blast SET send_at = now() WHERE blast_id = $1", blast)
        #expect(try await Self.state(rig, blast) == "sending")
        #expect(try await asked() == 1)
        try await rig.change(
            "UPDATE chunk SET requested_reported_at = now() - interval '11 s' WHERE blast_id = $1", blast)
        #expect(try await asked() == 1, "repeated after 10 s, not after a quarter of 29 days")
        await rig.close()
    }

    @Test func `a delivery without a result in time gets a fact that says so, once, and S-11 stays true`() async throws
    {
        let rig = try await DispatchRig.make("timeouts")
        let names = ["quiet", "confirmed", "delayed", "refused", "doubt"]
        let blast = try await rig.blast(names)
        _ = try await rig.verdicts(DispatchWireTests.entries(rig, names), blast)
        for number in 1...3 { try await rig.settle(blast, Int32(number), .accepted) }
        try await rig.settle(blast, 4, .rejected)
        try await rig.settle(blast, 5, .inDoubt)
        for (number, facts) in [
            (1, DeliveryFacts(.pending, .sent)), (2, .init(.pending, .sent, .delivered)),
            (3, .init(.pending, .sent, .delayed)), (4, .init(.pending, .bouncedInvalid)),
            (5, .init(.pending, .inDoubt)),
        ] {
            _ = try await rig.owner.query(
                "UPDATE delivery_status SET facts = $2 WHERE recipient_no = $1",
                [.int4(Int32(number)), .int(facts.bits)])
        }
        let timeouts = Timeouts(database: rig.dispatch, after: .seconds(3 * 86400), metrics: SenderMetrics(Metrics()))
        #expect(try await !timeouts.look(), "it is still being sent")
        try await rig.change(
            "UPDATE blast SET state = 'sent', sending_ended_at = now() - interval '71 hours' WHERE blast_id = $1", blast
        )
        #expect(try await !timeouts.look(), "there is time left")
        try await rig.change(
            "UPDATE blast SET sending_ended_at = now() - interval '73 hours' WHERE blast_id = $1", blast)
        let before = try await rig.attempts(blast).count
        while try await timeouts.look() {}
        let written = try await rig.attempts(blast).filter { $0.contains("timed_out") }
        #expect(written == ["1/2 timed_out 49", "3/2 timed_out 25"])
        #expect(try await rig.attempts(blast).count == before + 2)
        for vocabulary in StatusVocabulary.all {
            #expect(
                vocabulary.word(for: DeliveryFacts(.pending, .sent, .unconfirmed))
                    == vocabulary.word(for: DeliveryFacts(.pending, .sent)))
        }
        try await rig.change("UPDATE blast SET timeouts_from = 1 WHERE blast_id = $1", blast)
        _ = try await rig.owner.query("UPDATE attempt SET reported_at = now()")
        while try await timeouts.look() {}
        let open = try await rig.owner.query("SELECT count(*) AS n FROM attempt WHERE reported_at IS NULL")
        #expect(try open[0].int("n") == 0, "looked at twice, written once")
        await rig.close()
    }

    @Test func `many senders look for missing results at once: every range is worked by one, every fact said once`()
        async throws
    {
        let rig = try await DispatchRig.make("timeouts_many")
        let names = (0..<60).map { "n\($0)" }
        var blasts: [BlastID] = []
        for _ in 0..<4 {
            let blast = try await rig.blast(names)
            blasts.append(blast)
            _ = try await rig.owner.query(
                """
                INSERT INTO attempt (blast_id, recipient_no, attempt_no, district_id, chunk_no, state, fact, address_hash,
                                     content_hash, wire_at, settled_at)
                SELECT blast_id, recipient_no, 1, district_id, 1, 'accepted', 20, address_hash, 'c', now(), now()
                  FROM recipient WHERE blast_id = $1
                """, [.uuid(blast)])
            try await rig.change(
                "UPDATE blast SET state = 'sent', sending_ended_at = now() - interval '4 days' WHERE blast_id = $1",
                blast)
        }
        let metrics = SenderMetrics(Metrics())
        let timeouts = Timeouts(database: rig.dispatch, after: .seconds(3 * 86400), metrics: metrics)
        func workers(_ count: Int) async throws -> Int {
            try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<count {
                    group.addTask {
                        var ranges = 0
                        while try await timeouts.look() { ranges += 1 }
                        return ranges
                    }
                }
                return try await group.reduce(0, +)
            }
        }
        #expect(try await workers(8) == 4)
        for blast in blasts {
            let written = try await rig.attempts(blast).filter { $0.contains("timed_out") }
            #expect(written.count == 60 && Set(written).count == 60)
        }
        #expect(try await workers(8) == 0)
        await rig.close()
    }
}
