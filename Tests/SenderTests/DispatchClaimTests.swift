import Delivery
import Postgres
import Signing
import TestKit
import Testing

@testable import sender

@Suite("Content claim")
struct DispatchClaimTests {
    @Test func `I-14: of many simultaneous hand-overs of one content to one address exactly one goes out`() async throws
    {
        let rig = try await DispatchRig.make("race")
        var blasts: [BlastID] = []
        for _ in 0..<8 { blasts.append(try await rig.blast(["a"])) }
        for round in 0..<40 {
            let content = SHA256Digest.of(Array("round \(round)".utf8))
            let states = try await withThrowingTaskGroup(of: [AttemptState].self) { group in
                for blast in blasts {
                    let entry = rig.entry(1, "a", attempt: 1, content: content)
                    group.addTask { try await rig.verdicts([entry], blast).map(\.state) }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(states.count { $0 == .wire } == 1, "round \(round)")
            #expect(states.count { $0 == .requeued } == 7, "round \(round)")
            _ = try await rig.owner.query("DELETE FROM attempt")
        }
        await rig.close()
    }

    @Test func `I-14: who asks while the holder's answer is being written down never hands over`() async throws {
        let rig = try await DispatchRig.make("answer_race")
        let (holder, other) = (try await rig.blast(["a"]), try await rig.blast(["a"]))
        for round in 0..<40 {
            let entry = rig.entry(1, "a", content: SHA256Digest.of(Array("round \(round)".utf8)))
            _ = try await rig.verdicts([entry], holder)
            async let answered: Void = rig.settle(holder, 1, .accepted)
            async let asked = rig.verdicts([entry], other)
            let verdict = try #require(try await asked.first)
            try await answered
            #expect(verdict.state == .requeued || verdict.fact == .duplicate, "round \(round): \(verdict.state)")
            _ = try await rig.owner.query("DELETE FROM attempt")
        }
        await rig.close()
    }

    @Test func `windows that claim the same rows in opposite order do not wait for each other`() async throws {
        let rig = try await DispatchRig.make("order")
        let names = (0..<60).map { "a\($0)" }
        let one = try await rig.blast(names)
        let two = try await rig.blast(names.reversed())
        async let first = rig.verdicts(DispatchWireTests.entries(rig, names), one)
        async let second = rig.verdicts(DispatchWireTests.entries(rig, names.reversed()), two)
        let states = try await first.map(\.state) + (try await second.map(\.state))
        #expect(states.count { $0 == .wire } == 60)
        #expect(states.count { $0 == .requeued } == 60)
        await rig.close()
    }

    @Test func `equal rows of one window: one goes out, the other asks again and is then a duplicate of it`()
        async throws
    {
        let rig = try await DispatchRig.make("window")
        let blast = try await rig.blast(["a", "a"])
        let states = try await rig.verdicts([rig.entry(1, "a"), rig.entry(2, "a")], blast).map(\.state)
        #expect(states == [.wire, .requeued])
        try await rig.settle(blast, 1, .accepted)
        let again = try await rig.verdicts([rig.entry(2, "a", attempt: 2)], blast)
        #expect(again.map(\.fact) == [.duplicate])
        #expect(try await rig.attempts(blast) == ["1/1 accepted 20", "2/1 requeued", "2/2 stopped 10"])
        let reply = try await rig.owner.query("SELECT reply FROM attempt WHERE attempt_no = 2")[0].string("reply")
        #expect(reply.hasSuffix("\(blast)/1"))
        await rig.close()
    }

    @Test(arguments: [("3:59:59", AttemptState.stopped), ("4:00:00", .wire), ("4:00:01", .wire)])
    func `K-02: the window runs from hand-over`(age: String, expected: AttemptState) async throws {
        let rig = try await DispatchRig.make("window_end")
        let first = try await rig.blast(["a"])
        _ = try await rig.verdicts([rig.entry(1, "a")], first)
        try await rig.settle(first, 1, .accepted)
        var state: AttemptState?
        var isInside = true
        repeat {
            let second = try await rig.blast(["a"])
            try await rig.handOvers(were: age)
            state = try await rig.verdicts([rig.entry(1, "a")], second).first?.state
            // A machine so slow that the window ended meanwhile has not tested anything yet.
            isInside = try await rig.handOversAreInside()
        } while expected == .stopped && !isInside
        #expect(state == expected)
        await rig.close()
    }

    @Test func `doubt counts as handed over; refusal and deferral free the content`() async throws {
        let rig = try await DispatchRig.make("states")
        let blast = try await rig.blast(["a", "b", "c", "d"])
        _ = try await rig.verdicts(DispatchWireTests.entries(rig, ["a", "b", "c", "d"]), blast)
        #expect(try await rig.claim("a") == .reserved)
        try await rig.settle(blast, 1, .inDoubt)
        try await rig.settle(blast, 2, .rejected)
        try await rig.settle(blast, 3, .deferred)
        try await rig.settle(blast, 4, .withdrawn)
        #expect(try await rig.claim("a") == .handedOver)
        for name in ["b", "c", "d"] { #expect(try await rig.claim(name) == nil) }
        let other = try await rig.blast(["a", "b"])
        let verdicts = try await rig.verdicts(DispatchWireTests.entries(rig, ["a", "b"]), other)
        #expect(verdicts.map(\.fact) == [.duplicate, nil])
        #expect(verdicts.map(\.state) == [.stopped, .wire])
        await rig.close()
    }

    @Test func `emergency and declared resends take no claim`() async throws {
        let rig = try await DispatchRig.make("exempt")
        let first = try await rig.blast(["a"])
        _ = try await rig.verdicts([rig.entry(1, "a")], first)
        try await rig.settle(first, 1, .accepted)
        let emergency = try await rig.blast(["a"], isEmergency: true)
        #expect(try await rig.verdicts([rig.entry(1, "a")], emergency).map(\.state) == [.wire])
        let resend = try await rig.blast(["a"])
        try await rig.change("UPDATE blast SET parent_blast_id = gen_random_uuid() WHERE blast_id = $1", resend)
        #expect(try await rig.verdicts([rig.entry(1, "a")], resend).map(\.state) == [.wire])
        await rig.close()
    }
}
