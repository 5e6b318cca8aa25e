import Delivery
import Postgres
import Runtime
import Signing
import TestKit
import Testing

@testable import sender

@Suite("WIRE")
struct DispatchWireTests {
    @Test func `each kind of suppression stops its recipient with its own fact, and an attempt row says so`()
        async throws
    {
        let rig = try await DispatchRig.make("kinds")
        let names = ["free", "category", "everything", "other", "bounce", "complaint", "invalid", "manual", "reset"]
        try await Self.suppress(rig)
        let blast = try await rig.blast(names)
        let verdicts = try await rig.verdicts(Self.entries(rig, names), blast)
        #expect(
            verdicts.map(\.fact) == [
                nil, .skipped, .skipped, nil, .blockedBounce, .blockedComplaint, .blockedInvalid, .blockedInvalid, nil,
            ])
        #expect(
            verdicts.map(\.state) == [
                .wire, .stopped, .stopped, .wire, .stopped, .stopped, .stopped, .stopped, .wire,
            ])
        #expect(try await rig.attempts(blast).count == names.count)
        #expect(try await rig.claim("bounce") == nil)
        await rig.close()
    }

    @Test func `emergency overrides opt-outs and never the blacklist`() async throws {
        let rig = try await DispatchRig.make("emergency")
        let names = ["category", "everything", "bounce", "complaint", "invalid"]
        try await Self.suppress(rig)
        let blast = try await rig.blast(names, isEmergency: true)
        let verdicts = try await rig.verdicts(Self.entries(rig, names), blast)
        #expect(verdicts.map(\.fact) == [nil, nil, .blockedBounce, .blockedComplaint, .blockedInvalid])
        await rig.close()
    }

    @Test func `who refused consent is stopped as the guard would, at the first attempt and at a retry`() async throws {
        let rig = try await DispatchRig.make("consent")
        let names = ["everything", "category", "other", "retry", "resend"]
        for isEmergency in [false, true] {
            let blast = try await rig.blast(names, isEmergency: isEmergency)
            _ = try await rig.verdicts([rig.entry(4, "retry"), rig.entry(5, "resend")], blast)
            try await rig.settle(blast, 4, .deferred)
            try await rig.settle(blast, 5, .deferred)
            try await rig.change("UPDATE attempt SET next_at = now() WHERE blast_id = $1", blast)
            try await rig.change(
                """
                UPDATE recipient
                   SET consent_refused = (ARRAY['{*}', '{trips,general}', '{trips}', '{general}', '{*}'])[recipient_no]
                                         ::text[]
                 WHERE blast_id = $1
                """, blast)
            let first = try await rig.verdicts(Array(Self.entries(rig, names).prefix(3)), blast)
            let again = try await rig.verdicts(
                [rig.entry(4, "retry", attempt: 2), rig.entry(5, "resend", attempt: 2, isResend: true)], blast)
            #expect(
                (first + again).map(\.fact)
                    == (isEmergency
                        ? [nil, nil, nil, nil, nil]
                        : [.consentDenied, .consentDenied, nil, .consentDenied, .consentDenied]))
            let differing = try await rig.owner.query(
                """
                SELECT FROM screen_recipients($1, 1, 5, NULL) g JOIN attempt a USING (recipient_no)
                 WHERE a.blast_id = $1 AND a.state = 'stopped'
                   AND (g.fact, g.detail) IS DISTINCT FROM (a.fact, a.reply)
                """, [.uuid(blast)])
            #expect(differing.isEmpty, "the guard says it in other words")
            #expect(try await rig.claim("category") == nil)
        }
        await rig.close()
    }

    @Test func `another district's suppression does not count`() async throws {
        let rig = try await DispatchRig.make("districts")
        try await Self.suppress(rig)
        let blast = try await rig.blast(["bounce", "everything"], district: 8)
        let verdicts = try await rig.verdicts(Self.entries(rig, ["bounce", "everything"]), blast)
        #expect(verdicts.map(\.state) == [.wire, .wire])
        await rig.close()
    }

    @Test func `a cancelled blast and one past its time are cancelled recipient by recipient, a stale guard or not`()
        async throws
    {
        let rig = try await DispatchRig.make("cancelled")
        try await Self.makeGuardStale(rig)
        for change in [
            "UPDATE blast SET cancelled_at = now(), paused_at = now() WHERE blast_id = $1",
            "UPDATE blast SET not_after = now() - interval '1 second' WHERE blast_id = $1",
        ] {
            let blast = try await rig.blast(["a", "b"])
            try await rig.change(change, blast)
            let verdicts = try await rig.verdicts(Self.entries(rig, ["a", "b"]), blast)
            #expect(verdicts.map(\.fact) == [.cancelled, .cancelled])
        }
        await rig.close()
    }

    @Test func `without a live lease nothing is written`() async throws {
        let rig = try await DispatchRig.make("lease")
        let blast = try await rig.blast(["a"])
        let unknown = LeaseToken(high: 1, low: 2)
        #expect(try await rig.wire([rig.entry(1, "a")], blast, unknown) == .leaseLost)
        _ = try await rig.owner.query("UPDATE sender_lease SET lease_until = clock_timestamp() + interval '900 ms'")
        #expect(try await rig.wire([rig.entry(1, "a")], blast) == .leaseLost)
        #expect(try await rig.attempts(blast).isEmpty)
        #expect(try await rig.claim("a") == nil)
        await rig.close()
    }

    @Test func `a paused blast and a stale guard leave everything as it was, and emergency passes a stale guard`()
        async throws
    {
        let rig = try await DispatchRig.make("stale")
        let general = try await rig.blast(["a"])
        let emergency = try await rig.blast(["a"], isEmergency: true)
        try await rig.change("UPDATE blast SET paused_at = now() WHERE blast_id = $1", general)
        #expect(try await rig.wire([rig.entry(1, "a")], general) == .paused)
        try await rig.change("UPDATE blast SET paused_at = NULL WHERE blast_id = $1", general)
        for staleness in [
            "UPDATE guard_progress SET caught_up_at = clock_timestamp() - interval '11 seconds' WHERE part = 2",
            "UPDATE guard_progress SET caught_up_at = NULL WHERE part = 2",
            "DELETE FROM guard_progress",
        ] {
            _ = try await rig.owner.query(staleness)
            #expect(try await rig.wire([rig.entry(1, "a")], general) == .guardStale)
        }
        #expect(try await rig.attempts(general).isEmpty)
        #expect(try await rig.claim("a") == nil)
        #expect(try await rig.verdicts([rig.entry(1, "a")], emergency).map(\.state) == [.wire])
        await rig.close()
    }

    @Test func `what cannot be composed is stopped with the reason`() async throws {
        let rig = try await DispatchRig.make("fault")
        let blast = try await rig.blast(["a"])
        let fault = CompositionFault(fact: .notSent, reason: "the subject has a line feed")
        #expect(try await rig.verdicts([rig.entry(1, "a", fault: fault)], blast).map(\.fact) == [.notSent])
        let reply = try await rig.owner.query("SELECT reply FROM attempt")[0].string("reply")
        #expect(reply == fault.reason)
        await rig.close()
    }

    @Test func `C5: the same attempt cannot be written twice, and the second try changes nothing`() async throws {
        let rig = try await DispatchRig.make("twice")
        let blast = try await rig.blast(["a", "b"])
        _ = try await rig.verdicts([rig.entry(1, "a")], blast)
        let error = await #expect(throws: PostgresError.self) {
            try await rig.wire([rig.entry(1, "a"), rig.entry(2, "b")], blast)
        }
        #expect(error?.sqlState == "23505")
        #expect(try await rig.attempts(blast) == ["1/1 wire"])
        #expect(try await rig.claim("b") == nil)
        await rig.close()
    }

    // MARK: Fixtures

    static func entries(_ rig: DispatchRig, _ names: [String]) -> [WireEntry] {
        names.enumerated().map { rig.entry(Int32($0.offset + 1), $0.element) }
    }

    static func makeGuardStale(_ rig: DispatchRig) async throws {
        _ = try await rig.owner.query("UPDATE guard_progress SET caught_up_at = NULL")
    }

    static func suppress(_ rig: DispatchRig) async throws {
        for (name, category) in [("category", "general"), ("everything", "*"), ("other", "sports")] {
            _ = try await rig.owner.query(
                """
                INSERT INTO opt_out (district_id, address_hash, category, occurred_at) VALUES (7, $1, $2, now())
                """, [.bytes(DispatchRig.hash(name)), .text(category)])
        }
        for (name, reason) in [
            ("bounce", "bounce"), ("complaint", "complaint"), ("invalid", "invalid"), ("manual", "manual"),
            ("reset", "bounce"),
        ] {
            _ = try await rig.owner.query(
                """
                INSERT INTO blacklist (district_id, address_hash, address, reason, active, first_seen, last_seen)
                VALUES (7, $1, $2, $3, $4, now(), now())
                """, [.bytes(DispatchRig.hash(name)), .text(name), .text(reason), .bool(name != "reset")])
        }
    }
}
