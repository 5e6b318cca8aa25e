import Contracts
import Delivery
import Foundation
import Postgres
import TestKit
import Testing

/// What an operator or a sender types about one blast, against the running services.
@Suite(.serialized) struct `Commands about a blast` {
    /// The tool's output, once it ended with `status`.
    private static func expect(
        _ rig: BlastRig, _ arguments: [String], _ status: Int32 = 0, _ texts: String...
    ) async throws -> String {
        let result = try await TestKit.Command.run(
            ProjectFolder.program("rollcall"), arguments, environment: rig.toolEnvironment)
        try #require(result.status == status, "\(arguments): \(result.output)")
        for text in texts { #expect(result.output.contains(text), "\(arguments): \(result.output)") }
        return result.output
    }

    private static func blast(in output: String) throws -> String {
        let line = try #require(output.split(separator: "\n").first { $0.hasPrefix("blast ") })
        return String(try #require(line.dropFirst(6).prefix(36).wholeMatch(of: /[0-9a-f-]{36}/)).output)
    }

    private static func write(_ text: String, _ name: String, _ rig: BlastRig) throws -> String {
        let file = rig.stack.stateFolder.appending(path: name)
        try Data(text.utf8).write(to: file)
        return file.path
    }

    private static var hour: String {
        Timestamp.string(microseconds: Int64((Date().timeIntervalSince1970 + 3600) * 1_000_000))
    }

    /// A draft to three families with a form, to be sent in an hour.
    private static func draft(_ rig: BlastRig) async throws -> String {
        let list = try write(
            "email,name\n" + (1...3).map { "success-\($0)@families.example,Family \($0)\n" }.joined(), "trip.csv", rig)
        let text = try write("Dear {{name}}, please bring the form.", "trip.txt", rig)
        let made = try await expect(
            rig,
            [
                "send", "--subject", "Trip", "--from", "office@school.example", "--text", text, "--csv", list,
                "--draft-only",
            ], 0, "would be: send 3", "not sent")
        let blast = try blast(in: made)
        let form = try write("%PDF-1.4\n", "form.pdf", rig)
        _ = try await expect(
            rig, ["draft", "attach", blast, form, "--type", "application/pdf"], 0, "attached form.pdf")
        _ = try await expect(rig, ["draft", "preview", blast, "2"], 0, "Dear Family 2", "Attached: form.pdf")
        let dry = try await expect(rig, ["draft", "dry-run", blast, "--all"], 0, "send 3")
        #expect(dry.split(separator: "\n").count == 4, "\(dry)")
        _ = try await expect(rig, ["schedule", blast, "--at", hour], 0, "to be sent at")
        return blast
    }

    @Test func `schedule, approve, pause, resume, cancel and follow up on it, each said and done`() async throws {
        try await BlastRig.with("commands") { rig in
            _ = try await Self.expect(
                rig, ["districts", "set", "1", "--approval-above", "2", "--actor", "ann"], 0, "above 2 recipients")
            _ = try await Self.expect(rig, ["districts", "history", "1"], 0, "to \"2\"  by ann")
            let blast = try await Self.draft(rig)
            _ = try await Self.expect(rig, ["draft", "send", blast], 0, "ordered for 3 recipients", "approve")
            _ = try await Self.expect(rig, ["approve", blast], 77, "Somebody else has to approve")
            let key = try await Self.expect(
                rig, ["keys", "create", "1", "--scope", "send", "--label", "second person"]
            ).split(separator: "\n").first { $0.hasPrefix("rck_") }
            let second = String(try #require(key))
            _ = try await Self.expect(rig, ["approve", blast, "--key", second], 0, "scheduled, to be sent at")
            _ = try await Self.expect(rig, ["pause", blast], 0, "paused since")
            _ = try await Self.expect(rig, ["schedule", blast, "--now"], 0, "paused since")
            // The time of an order comes when a sender looks: then it waits for whoever paused it.
            _ = try await Self.expect(rig, ["watch", blast, "--timeout", "1"], 1, "not sent yet")
            _ = try await Self.expect(rig, ["resume", blast], 0, "blast \(blast): s")
            _ = try await Self.expect(rig, ["watch", blast, "--settled", "--timeout", "300"], 0, "Delivery 3")
            let times = try await rig.database.query(
                """
                SELECT count(*) AS n, min(a.wire_at) > min(b.resumed_at) AS waited FROM attempt a
                  JOIN blast b USING (blast_id)
                 WHERE blast_id = $1::text::uuid
                """, [.text(blast)])[0]
            #expect(try times.int("n") == 3)
            #expect(try times.bool("waited"), "nothing goes out before 'resume'")
            _ = try await Self.expect(rig, ["report", blast, "--vocabulary", "iclasspro"], 0, "Trip", "100 %")
            _ = try await Self.expect(rig, ["audit", blast], 0, "1 blasts, 0 findings")
            try await Self.followUp(rig, blast)
        }
    }

    private static func followUp(_ rig: BlastRig, _ blast: String) async throws {
        _ = try await expect(rig, ["follow-up", blast], 64, "Give --to, or --with and --without")
        _ = try await expect(rig, ["follow-up", blast, "--with", "opened"], 1, "Nobody matches")
        let text = try write("Dear {{name}}, by {{day}} please.", "again.txt", rig)
        let other = try await expect(
            rig, ["follow-up", blast, "--with", "delivered", "--without", "acknowledged", "--text", text], 0,
            "a draft to 3 recipients", "{{day}} is no column of the list")
        _ = try await expect(rig, ["draft", "send", try Self.blast(in: other)], 1, "{{day}}")
        let made = try await expect(
            rig,
            ["follow-up", blast, "--to", "not_acknowledged", "--subject", "Trip: please answer", "--send-at", hour], 0,
            "a draft to 3 recipients", "would be: send 3")
        let next = try Self.blast(in: made)
        _ = try await expect(rig, ["draft", "send", next], 0, "ordered for 3 recipients")
        _ = try await expect(rig, ["cancel", next], 0, "cancelled at")
        _ = try await eventually("nobody is sent to any more") {
            try await expect(rig, ["report", next])
        } until: {
            $0.contains("Cancelled") && $0.contains("100 %")
        }
        _ = try await expect(rig, ["resume", next], 1)
        _ = try await expect(rig, ["cancel", "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2d"], 1)
        _ = try await expect(rig, ["cancel", "no-blast"], 64)
    }
}
