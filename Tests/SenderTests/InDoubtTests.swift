import Delivery
import Postgres
import TestKit
import Testing

@testable import sender

@Suite("What is in doubt")
struct InDoubtTests {
    private static func rollcall(_ rig: DispatchRig, _ arguments: String...) async throws -> Command.Result {
        try await Command.run(
            ProjectFolder.program("rollcall"), ["in-doubt"] + arguments, environment: rig.database.environment)
    }

    /// Attempts accepted, in doubt, given up, in doubt although delivered, and in doubt.
    private static func doubts(_ rig: DispatchRig) async throws -> BlastID {
        let names = ["a", "b", "c", "d", "e"]
        let blast = try await rig.blast(names)
        _ = try await rig.verdicts(DispatchWireTests.entries(rig, names), blast)
        try await rig.settle(blast, 1, .accepted)
        for number in 2...5 { try await rig.settle(blast, Int32(number), .inDoubt) }
        try await rig.change("UPDATE attempt SET reported_at = now() WHERE blast_id = $1", blast)
        try await rig.change("UPDATE attempt SET state = 'unknown' WHERE blast_id = $1 AND recipient_no = 3", blast)
        try await rig.change(
            "UPDATE delivery_status SET facts = facts | (1::bigint << 30) WHERE blast_id = $1 AND recipient_no = 4",
            blast)
        return blast
    }

    @Test func `operators see what nobody knows, and what later news has settled is not listed`() async throws {
        let rig = try await DispatchRig.make("doubt_list")
        #expect(try await Self.rollcall(rig, "list").output.contains("nothing is in doubt"))
        let blast = try await Self.doubts(rig)
        let list = try await Self.rollcall(rig, "list", "--blast", "\(blast)").output
        let lines = list.split(separator: "\n").map { $0.split(separator: " ").prefix(2).joined(separator: " ") }
        #expect(
            Set(lines) == ["\(blast)/2/1 in_doubt", "\(blast)/3/1 unknown", "\(blast)/5/1 in_doubt"], "\(list)")
        #expect(list.contains("the connection ended after the final dot"))
        #expect(try await Self.rollcall(rig, "list", "--limit", "1").output.contains("there are more"))
        #expect(try await Self.rollcall(rig, "list", "--blast", "x").status == 64)
        await rig.close()
    }

    @Test func `what an operator found out is recorded, applied once by a sender, and cannot be said otherwise`()
        async throws
    {
        let rig = try await DispatchRig.make("doubt_settle")
        let blast = try await Self.doubts(rig)
        func settle(_ number: Int, _ verdict: String) async throws -> Command.Result {
            try await Self.rollcall(
                rig, "settle", "\(blast)/\(number)/1", "--as", verdict, "--reason", "their log says so", "--wait", "0")
        }
        for (number, verdict) in [(2, "sent"), (3, "sent"), (5, "not-sent")] {
            let asked = try await settle(number, verdict)
            #expect(asked.status == 0 && asked.output.contains("a sender applies it"), "\(asked.output)")
        }
        let reaper = DispatchAttemptTests.reaper(rig)
        for _ in 0..<2 { _ = try await reaper.reap() }
        #expect(
            try await rig.attempts(blast) == [
                "1/1 accepted 20", "2/1 resolved_sent 20", "3/1 resolved_sent 20", "4/1 resolved_sent 20",
                "5/1 resolved_not_sent 24",
            ])
        #expect(try await rig.claim("b") == .handedOver)
        #expect(try await rig.claim("e") == nil)
        let again = try await settle(2, "sent")
        #expect(again.status == 0 && again.output.contains("resolved_sent"), "\(again.output)")
        #expect(again.output.contains("an operator settled what was in doubt: their log says so"))
        let otherwise = try await settle(2, "not-sent")
        #expect(otherwise.status == 1 && otherwise.output.contains("was settled otherwise by"), "\(otherwise.output)")
        let answered = try await settle(1, "sent")
        #expect(answered.status == 1 && answered.output.contains("is accepted, which is not in doubt"))
        #expect(try await settle(99, "sent").status == 1)
        #expect(try await Self.rollcall(rig, "settle", "5", "--as", "sent", "--reason", "x").status == 64)
        #expect(
            try await Self.rollcall(rig, "settle", "\(blast)/2/1", "--as", "sent", "--reason", "").status == 64)
        let kept = try await rig.owner.query("SELECT count(*) AS n FROM doubt_settlement WHERE actor LIKE '%@%'")
        #expect(try kept[0].int("n") == 3)
        await rig.close()
    }
}
