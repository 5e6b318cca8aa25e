import Delivery
import Postgres
import Runtime
import TestKit
import Testing

@testable import sender

@Suite("Attempts")
struct DispatchAttemptTests {
    @Test func `outcomes set state, fact and next time, and a later outcome never overrules an answer`() async throws {
        let rig = try await DispatchRig.make("outcomes")
        let blast = try await rig.blast(["a", "b", "c", "d", "e"])
        _ = try await rig.verdicts(DispatchWireTests.entries(rig, ["a", "b", "c", "d", "e"]), blast)
        try await rig.settle(blast, 1, .accepted)
        try await rig.settle(blast, 2, .rejected)
        try await rig.settle(blast, 3, .deferred)
        try await rig.settle(blast, 4, .expired)
        try await rig.settle(blast, 5, .inDoubt)
        #expect(
            try await rig.attempts(blast) == [
                "1/1 accepted 20", "2/1 rejected 27", "3/1 deferred 4 due", "4/1 deferred 25", "5/1 in_doubt 18",
            ])
        try await rig.settle(blast, 1, .rejected)
        try await rig.settle(blast, 2, .accepted)
        try await rig.settle(blast, 5, .accepted)
        #expect(try await rig.attempts(blast).first == "1/1 accepted 20")
        #expect(try await rig.attempts(blast)[1] == "2/1 rejected 27")
        #expect(try await rig.attempts(blast).last == "5/1 accepted 20")
        await rig.close()
    }

    @Test func `a retry takes the earlier row in the statement that writes the next attempt, and only once`()
        async throws
    {
        let rig = try await DispatchRig.make("retry")
        let blast = try await rig.blast(["a"])
        _ = try await rig.verdicts([rig.entry(1, "a")], blast)
        try await rig.settle(blast, 1, .deferred)
        try await rig.change("UPDATE attempt SET next_at = now() - interval '1 second' WHERE blast_id = $1", blast)
        let queue = RetryQueue(database: rig.dispatch, guardFreshness: .seconds(10))
        #expect(try await queue.blastsWithDue(limit: 8).map(\.blast) == [blast])
        let wire = Wire(database: rig.dispatch, leaseMargin: .seconds(1), guardFreshness: .seconds(10))
        let result = try await queue.pull(upTo: 10, of: blast, over: Channel.allCases) { due, connection in
            #expect(due.map(\.deferrals) == [1])
            // While one sender holds the row another one passes it over.
            let other = try await queue.pull(upTo: 10, of: blast, over: Channel.allCases) { _, _ in .paused }
            #expect(other == .decided([]))
            return try await wire.write(
                [rig.entry(1, "a", attempt: 2)], of: blast, rig.lease, on: connection)
        }
        guard case .decided(let verdicts) = result, let verdict = verdicts.first else {
            throw TestKitError("WIRE decided nothing")
        }
        #expect(verdicts.count == 1 && verdict.recipientNumber == 1 && verdict.attempt == 2)
        #expect(verdict.state == .wire && verdict.fact == nil)
        let wireAt = try await rig.owner.query("SELECT wire_at FROM attempt WHERE attempt_no = 2")
        #expect(try wireAt[0].timestampMicroseconds("wire_at") == verdict.wireAtMicroseconds)
        #expect(try await rig.attempts(blast) == ["1/1 deferred 4", "1/2 wire"])
        #expect(try await rig.verdicts([rig.entry(1, "a", attempt: 3)], blast).isEmpty)
        await rig.close()
    }

    @Test func `C4: what a dead sender left on the wire is in doubt, what a live one holds is not`() async throws {
        let rig = try await DispatchRig.make("reap")
        let blast = try await rig.blast(["a", "b"])
        _ = try await rig.verdicts(DispatchWireTests.entries(rig, ["a", "b"]), blast)
        let reaper = Self.reaper(rig)
        try await rig.change("UPDATE attempt SET wire_at = now() - interval '6 seconds' WHERE blast_id = $1", blast)
        _ = try await rig.owner.query("DELETE FROM sender_lease")
        _ = try await reaper.reap()
        #expect(try await rig.attempts(blast) == ["1/1 wire", "2/1 wire"], "the final dot may still be written")
        try await rig.change("UPDATE attempt SET wire_at = now() - interval '8 seconds' WHERE blast_id = $1", blast)
        let live = try await rig.owner.query(
            "INSERT INTO sender_lease (instance, lease_until) VALUES ('x', now() + interval '1 hour') RETURNING token::text"
        )[0].string("token")
        _ = try await rig.owner.query(
            "UPDATE attempt SET lease_token = $1::text::uuid WHERE recipient_no = 2", [.text(live)])
        _ = try await reaper.reap()
        #expect(try await rig.attempts(blast) == ["1/1 in_doubt 18", "2/1 wire"])
        #expect(try await rig.claim("a") == .handedOver)
        #expect(try await rig.claim("b") == .reserved)
        await rig.close()
    }

    @Test func `a sender takes back only what it wrote itself: another one's message on the wire stays`() async throws {
        let rig = try await DispatchRig.make("fence")
        let blast = try await rig.blast(["a", "b"])
        let late = try await rig.otherLease()
        _ = try await rig.verdicts(DispatchWireTests.entries(rig, ["a", "b"]), blast)
        try await rig.settle(blast, 2, .inDoubt)
        for number in 1...2 { try await rig.settle(blast, Int32(number), .withdrawn, under: late) }
        #expect(try await rig.attempts(blast) == ["1/1 wire", "2/1 in_doubt 18"])
        #expect(try await rig.claim("a") == .reserved)
        #expect(try await rig.claim("b") == .handedOver)
        try await rig.settle(blast, 1, .withdrawn)
        #expect(try await rig.attempts(blast) == ["1/1 requeued due", "2/1 in_doubt 18"])
        #expect(try await rig.claim("a") == nil)
        await rig.close()
    }

    @Test func `a second sender that waited for the first one's WIRE takes nothing of it back`() async throws {
        let rig = try await DispatchRig.make("wait")
        let blast = try await rig.blast(["a"])
        let second = try await rig.otherLease()
        let wire = Wire(database: rig.dispatch, leaseMargin: .seconds(1), guardFreshness: .seconds(10))
        let waiting = try await rig.dispatch.withTransaction { connection in
            _ = try await wire.write([rig.entry(1, "a")], of: blast, rig.lease, on: connection)
            let waiting = Task { try await rig.wire([rig.entry(1, "a")], blast, second) }
            try await eventually("the second sender waits") {
                try await rig.owner.query(
                    """
                    SELECT EXISTS (SELECT FROM pg_stat_activity
                                    WHERE datname = current_database() AND wait_event_type = 'Lock') AS waits
                    """)[0].bool("waits")
            }
            return waiting
        }
        await #expect(throws: PostgresError.self) { try await waiting.value }
        try await rig.settle(blast, 1, .withdrawn, under: second)
        #expect(try await rig.attempts(blast) == ["1/1 wire"])
        #expect(try await rig.claim("a") == .reserved)
        await rig.close()
    }

    @Test func `what stands on the wire longer than any answer may take is in doubt, alive or not`() async throws {
        let rig = try await DispatchRig.make("stuck")
        let blast = try await rig.blast(["a"])
        _ = try await rig.verdicts([rig.entry(1, "a")], blast)
        let reaper = Self.reaper(rig)
        try await rig.change("UPDATE attempt SET wire_at = now() - interval '600 seconds' WHERE blast_id = $1", blast)
        _ = try await reaper.reap()
        #expect(try await rig.attempts(blast) == ["1/1 wire"], "an answer may still come")
        try await rig.change("UPDATE attempt SET wire_at = now() - interval '666 seconds' WHERE blast_id = $1", blast)
        _ = try await reaper.reap()
        #expect(try await rig.attempts(blast) == ["1/1 in_doubt 18"])
        await rig.close()
    }

    @Test func `evidence ends doubt with sent, and the fact is reported again`() async throws {
        let rig = try await DispatchRig.make("evidence")
        let blast = try await rig.blast(["a", "b", "c"])
        _ = try await rig.verdicts(DispatchWireTests.entries(rig, ["a", "b", "c"]), blast)
        for number in 1...3 { try await rig.settle(blast, Int32(number), .inDoubt) }
        try await rig.change("UPDATE attempt SET reported_at = now() WHERE blast_id = $1", blast)
        _ = try await rig.owner.query(
            "UPDATE delivery_status SET facts = facts | (1::bigint << 30) WHERE recipient_no = 1")
        _ = try await rig.owner.query(
            "UPDATE delivery_status SET facts = facts | (1::bigint << 18) WHERE recipient_no = 2")
        _ = try await rig.owner.query(
            "UPDATE delivery_status SET facts = facts | (1::bigint << 26) WHERE recipient_no = 3")
        _ = try await Self.reaper(rig).reap()
        #expect(
            try await rig.attempts(blast) == ["1/1 resolved_sent 20", "2/1 in_doubt 18", "3/1 resolved_sent 20"])
        let open = try await rig.owner.query("SELECT count(*) AS n FROM attempt WHERE reported_at IS NULL")
        #expect(try open[0].int("n") == 2)
        await rig.close()
    }

    @Test func `evidence waits until the doubt is said, from its row or by its sender`() async throws {
        let rig = try await DispatchRig.make("untold")
        let blast = try await rig.blast(["a", "b"])
        _ = try await rig.verdicts(DispatchWireTests.entries(rig, ["a", "b"]), blast)
        for number in 1...2 { try await rig.settle(blast, Int32(number), .inDoubt) }
        try await rig.change("UPDATE attempt SET reported_at = now() WHERE recipient_no = 2 AND blast_id = $1", blast)
        try await rig.change(
            "INSERT INTO attempt_report (blast_ids, recipient_nos, attempt_nos) SELECT ARRAY[$1], '{2}', '{1}'", blast)
        _ = try await rig.owner.query("UPDATE delivery_status SET facts = facts | (1::bigint << 30)")
        _ = try await Self.reaper(rig).reap()
        #expect(try await rig.attempts(blast) == ["1/1 in_doubt 18", "2/1 in_doubt 18"])
        try await rig.change("UPDATE attempt SET reported_at = now() WHERE recipient_no = 1 AND blast_id = $1", blast)
        _ = try await rig.owner.query("DELETE FROM attempt_report")
        _ = try await Self.reaper(rig).reap()
        #expect(try await rig.attempts(blast) == ["1/1 resolved_sent 20", "2/1 resolved_sent 20"])
        await rig.close()
    }

    @Test func `old doubt follows the declared policy: unknown, or one more attempt that no claim stops`() async throws
    {
        let rig = try await DispatchRig.make("policy")
        let once = try await rig.blast(["a"])
        let repeated = try await rig.blast(["b"], policy: "at_least_once")
        for (blast, name) in [(once, "a"), (repeated, "b")] {
            _ = try await rig.verdicts([rig.entry(1, name)], blast)
            try await rig.settle(blast, 1, .inDoubt)
            try await rig.change(
                "UPDATE attempt SET settled_at = now() - interval '16 minutes' WHERE blast_id = $1", blast)
        }
        _ = try await Self.reaper(rig).reap()
        #expect(try await rig.attempts(once) == ["1/1 unknown 19"])
        #expect(try await rig.attempts(repeated) == ["1/1 resend 18 due"])
        let resent = try await rig.verdicts([rig.entry(1, "b", attempt: 2, isResend: true)], repeated)
        #expect(resent.map(\.state) == [.wire])
        #expect(try await rig.attempts(repeated) == ["1/1 resend 18", "1/2 wire"])
        await rig.close()
    }

    @Test func `a late acceptance overrules unknown and a resend that has not begun`() async throws {
        let rig = try await DispatchRig.make("late")
        let blast = try await rig.blast(["a", "b", "c"])
        _ = try await rig.verdicts(DispatchWireTests.entries(rig, ["a", "b", "c"]), blast)
        for (number, state) in [(1, "unknown"), (2, "resend"), (3, "resend")] {
            _ = try await rig.owner.query(
                """
                UPDATE attempt SET state = $2, next_at = CASE WHEN $1::int = 2 THEN now() END WHERE recipient_no = $1::int
                """, [.int4(Int32(number)), .text(state)])
        }
        for number in 1...3 { try await rig.settle(blast, Int32(number), .accepted) }
        #expect(try await rig.attempts(blast) == ["1/1 accepted 20", "2/1 accepted 20", "3/1 resend"])
        await rig.close()
    }

    @Test func `a blast is sent once every chunk is done and nothing is on the wire, in doubt or due`() async throws {
        let rig = try await DispatchRig.make("finish")
        let blast = try await rig.blast(["a", "b"])
        let finisher = BlastFinisher(database: rig.dispatch)
        let queue = ChunkQueue(database: rig.dispatch)
        let chunk = try #require(try await queue.take(rig.lease, onlyEmergency: false))
        _ = try await rig.verdicts([rig.entry(1, "a")], blast)
        #expect(try await !queue.finish(chunk, rig.lease), "recipient 2 has neither decision nor attempt")
        _ = try await rig.verdicts([rig.entry(2, "b")], blast)
        #expect(try await queue.finish(chunk, rig.lease))
        func state() async throws -> String {
            try await finisher.finish()
            return try await rig.owner.query("SELECT state FROM blast WHERE blast_id = $1", [.uuid(blast)])[0].string(
                "state")
        }
        #expect(try await state() == "sending")
        try await rig.settle(blast, 1, .deferred)
        try await rig.settle(blast, 2, .inDoubt)
        #expect(try await state() == "sending")
        try await rig.settle(blast, 2, .accepted)
        #expect(try await state() == "sending")
        try await rig.change("UPDATE attempt SET next_at = NULL WHERE blast_id = $1", blast)
        #expect(try await state() == "sent")
        await rig.close()
    }

    static func reaper(_ rig: DispatchRig) -> Reaper {
        Reaper(
            database: rig.dispatch, dotDeadline: .seconds(5), replyTimeout: .seconds(600), inDoubtAfter: .seconds(900),
            metrics: SenderMetrics(Metrics()))
    }
}
