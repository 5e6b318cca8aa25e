import Delivery
import Postgres
import Runtime
import TestKit
import Testing

@testable import sender

@Suite("The same content within four hours")
struct DispatchContentTests {
    /// An accepted original, and later blasts of other senders that are about to hand over the same.
    private static func repeats(_ rig: DispatchRig, _ count: Int, age: String) async throws -> [(BlastID, LeaseToken)] {
        let original = try await rig.blast(["a"])
        _ = try await rig.verdicts([rig.entry(1, "a")], original)
        try await rig.settle(original, 1, .accepted)
        var later: [(BlastID, LeaseToken)] = []
        for _ in 0..<count { later.append((try await rig.blast(["a"]), try await rig.otherLease())) }
        try await rig.handOvers(were: age)
        return later
    }

    private static func handOver(
        _ rig: DispatchRig, _ blasts: [(BlastID, LeaseToken)], attempt: Int32 = 1
    ) async throws -> [WireVerdict] {
        try await withThrowingTaskGroup(of: [WireVerdict].self) { group in
            for (blast, token) in blasts {
                group.addTask {
                    guard
                        case .decided(let verdicts) = try await rig.wire(
                            [rig.entry(1, "a", attempt: attempt)], blast, token)
                    else { throw TestKitError("WIRE decided nothing") }
                    return verdicts
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
    }

    @Test func `I-14: at 3:59:59 every one of many senders is refused as a duplicate`() async throws {
        let rig = try await DispatchRig.make("content_inside")
        var isInside = false
        while !isInside {
            let verdicts = try await Self.handOver(rig, try await Self.repeats(rig, 8, age: "3:59:59"))
            // A machine so slow that the window ended meanwhile has not tested anything yet.
            isInside = try await rig.handOversAreInside()
            if isInside {
                #expect(verdicts.map(\.fact) == Array(repeating: .duplicate, count: 8))
            } else {
                _ = try await rig.owner.query("DELETE FROM content_claim")
            }
        }
        await rig.close()
    }

    @Test(arguments: ["4:00:00", "4:00:01"])
    func `I-14: from 4:00:00 on exactly one of many senders hands over, and the others are duplicates of it`(
        age: String
    ) async throws {
        let rig = try await DispatchRig.make("content_after")
        let later = try await Self.repeats(rig, 8, age: age)
        let verdicts = try await Self.handOver(rig, later)
        #expect(verdicts.count { $0.state == .wire } == 1)
        #expect(verdicts.count { $0.state == .requeued } == 7)
        let winner = try await rig.owner.query("SELECT blast_id, lease_token FROM attempt WHERE state = 'wire'")[0]
        let blast = try winner.blastID("blast_id")
        try await rig.settle(blast, 1, .accepted)
        let others = later.filter { $0.0 != blast }
        #expect(
            try await Self.handOver(rig, others, attempt: 2).map(\.fact) == Array(repeating: .duplicate, count: 7))
        await rig.close()
    }

    @Test func `I-14: what was cancelled, refused, given up, left out or taken back is no original`() async throws {
        let rig = try await DispatchRig.make("content_originals")
        try await DispatchWireTests.suppress(rig)
        let names = ["refused", "given up", "taken back", "waiting", "bounce", "everything"]
        let first = try await rig.blast(names)
        _ = try await rig.verdicts(DispatchWireTests.entries(rig, names), first)
        for (number, outcome) in [(1, SettledOutcome.rejected), (2, .expired), (3, .withdrawn), (4, .deferred)] {
            try await rig.settle(first, Int32(number), outcome)
        }
        let cancelled = try await rig.blast(["cancelled"])
        try await rig.change("UPDATE blast SET cancelled_at = now() WHERE blast_id = $1", cancelled)
        #expect(try await rig.verdicts([rig.entry(1, "cancelled")], cancelled).map(\.fact) == [.cancelled])
        _ = try await rig.owner.query("UPDATE opt_out SET active = false")
        _ = try await rig.owner.query("UPDATE blacklist SET active = false")

        let all = names + ["cancelled"]
        let second = try await rig.blast(all)
        let states = try await rig.verdicts(DispatchWireTests.entries(rig, all), second).map(\.state)
        #expect(states == Array(repeating: .wire, count: all.count))
        await rig.close()
    }

    @Test func `I-14: other content to the address, the content to another address, another district: no duplicates`()
        async throws
    {
        let rig = try await DispatchRig.make("content_others")
        let first = try await rig.blast(["a"])
        _ = try await rig.verdicts([rig.entry(1, "a")], first)
        try await rig.settle(first, 1, .accepted)
        let second = try await rig.blast(["a", "b"])
        let other = rig.entry(1, "a", content: DispatchRig.hash("other content"))
        #expect(try await rig.verdicts([other, rig.entry(2, "b")], second).map(\.state) == [.wire, .wire])
        let foreign = try await rig.blast(["a"], district: 8)
        #expect(try await rig.verdicts([rig.entry(1, "a")], foreign).map(\.state) == [.wire])
        await rig.close()
    }
}
