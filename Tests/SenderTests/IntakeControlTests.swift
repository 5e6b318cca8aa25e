import Delivery
import Foundation
import Postgres
import Runtime
import TestKit
import Testing

@testable import sender

@Suite(.timeLimit(.minutes(5))) struct `A blast's life` {
    private static func time(_ seconds: Double) -> String {
        Date(timeIntervalSinceNow: seconds).formatted(.iso8601)
    }

    private static func draft(_ more: [String: String] = [:]) throws -> String {
        var draft: [String: Any] = [
            "subject": "Hello", "text": "Hello {{name}}", "from": ["address": "office@district.example"],
        ]
        for (name, value) in more { draft[name] = value }
        return String(decoding: try JSONSerialization.data(withJSONObject: draft), as: UTF8.self)
    }

    @Test func `a blast is scheduled at most 30 days ahead, and its time can be changed until sending begins`()
        async throws
    {
        try await IntakeRig.run { rig in
            for (sendAt, notAfter) in [(-60.0, nil), (30 * 86400 + 60, nil), (7200, 3600.0)] as [(Double, Double?)] {
                var more = ["send_at": Self.time(sendAt)]
                if let notAfter { more["not_after"] = Self.time(notAfter) }
                _ = try await rig.request("POST", "/v1/blasts", try Self.draft(more)).problem(422, "invalid-members")
            }
            let at = Self.time(3600)
            let blast = try await rig.blast(try Self.draft(["send_at": at]))
            let path = "/v1/blasts/\(blast)"
            #expect(try await rig.upload(blast, "email,name\na@x.example,A\n").status == 200)
            let order = try await rig.request("POST", "\(path)/send", headers: ["Idempotency-Key": "k"])
            #expect(order.status == 202, "\(order.text)")
            func state() async throws -> String? {
                try await rig.request("GET", path).json()["state"] as? String
            }
            #expect(try await state() == "scheduled")
            _ = try await rig.upload(blast, "email\nz@x.example\n").problem(409, "not-a-draft")

            let later = Self.time(29 * 86400)
            let moved = try await rig.request("POST", "\(path)/schedule", "{\"send_at\":\"\(later)\"}")
            #expect(moved.status == 200, "\(moved.text)")
            #expect((try moved.json()["send_at"] as? String)?.prefix(19) == later.prefix(19))
            _ = try await rig.request("POST", "\(path)/schedule", "{\"send_at\":\"\(Self.time(31 * 86400))\"}")
                .problem(422, "invalid-members")
            #expect(try await rig.request("POST", "\(path)/pause").status == 200)
            #expect(try await rig.request("POST", "\(path)/resume").status == 200)
            #expect(
                try await rig.request("POST", "\(path)/send", headers: ["Idempotency-Key": "k"]).body == order.body)
            // As soon as it may: the next look of a sender begins it.
            #expect(try await rig.request("POST", "\(path)/schedule", "{}").status == 200)
            let released = try await rig.owner.query(BlastReleaser.release)
            #expect(released.count == 1)
            #expect(try await state() == "sending")
            _ = try await rig.request("POST", "\(path)/schedule", "{}").problem(409, "sending-began")
        }
    }

    @Test func `above the district's size a second person approves, whoever ordered it cannot, and time runs out`()
        async throws
    {
        var limits = IntakeLimits()
        limits.approvalWithin = .seconds(3600)
        try await IntakeRig.run(limits: limits) { rig in
            _ = try await rig.owner.query("UPDATE district SET approval_above = 1 WHERE district_id = 1")
            let second = try await IntakeRig.key(1, ["send"], rig.owner)
            let other = try await IntakeRig.key(1, ["admin"], rig.owner)
            let foreign = rig.foreignKey
            for (id, label) in [(rig.sendKey, "Ann"), (second, "Ann"), (other, "Bob"), (foreign, "Eve")] {
                _ = try await rig.owner.query(
                    "UPDATE api_key SET label = $2 WHERE strpos($1, key_id) > 0", [.text(id), .text(label)])
            }
            func ordered(_ rows: Int, _ more: [String: String] = [:]) async throws -> String {
                let blast = try await rig.blast(try Self.draft(more))
                let list = (0..<rows).map { "p\($0)@x.example,P\n" }.joined()
                #expect(try await rig.upload(blast, "email,name\n\(list)").status == 200)
                let answer = try await rig.request(
                    "POST", "/v1/blasts/\(blast)/send", headers: ["Idempotency-Key": blast])
                #expect(answer.status == 202, "\(answer.text)")
                return "/v1/blasts/\(blast)"
            }
            func state(_ path: String) async throws -> String? {
                try await rig.request("GET", path).json()["state"] as? String
            }
            let small = try await ordered(1)
            #expect(try await state(small) == "sending")
            _ = try await rig.request("POST", "\(small)/approve", key: other).problem(409, "not-awaiting-approval")
            let emergency = try await ordered(2, ["class": "emergency"])
            #expect(try await state(emergency) == "sending", "an emergency waits for nobody")

            let large = try await ordered(2)
            #expect(try await state(large) == "awaiting_approval")
            for key in [rig.sendKey, second] {
                _ = try await rig.request("POST", "\(large)/approve", key: key).problem(403, "second-person-needed")
            }
            _ = try await rig.request("POST", "\(large)/approve", key: foreign).problem(404, "no-such-blast")
            #expect(try await state(large) == "awaiting_approval")
            let approved = try await rig.request("POST", "\(large)/approve", key: other)
            #expect(approved.status == 200, "\(approved.text)")
            #expect(try approved.json()["approved_by"] as? String == "Bob")
            #expect(try await state(large) == "sending")
            #expect(try await rig.request("POST", "\(large)/approve", key: other).status == 200, "said twice")

            let scheduled = try await ordered(2, ["send_at": Self.time(3600)])
            #expect(try await rig.request("POST", "\(scheduled)/approve", key: other).status == 200)
            #expect(try await state(scheduled) == "scheduled")

            let late = try await ordered(2)
            _ = try await rig.owner.query("UPDATE blast SET approval_until = now() WHERE state = 'awaiting_approval'")
            _ = try await rig.request("POST", "\(late)/approve", key: other).problem(409, "not-awaiting-approval")
            let told = try await rig.owner.query(BlastReleaser.release)
            #expect(try told.map { try $0.string("ended") } == ["nobody approved the blast in time"])
        }
    }

    @Test func `a follow-up goes to those whose delivery stands as asked, with all that their rows had`() async throws {
        try await IntakeRig.run { rig in
            let parent = try await rig.blast(IntakeRig.draft)
            let list =
                "email,name,person_ref,school,bus\n"
                + (1...8).map { "p\($0)@x.example,P\($0),f\($0),North,\($0)\n" }.joined()
            #expect(try await rig.upload(parent, list).status == 200)
            let path = "/v1/blasts/\(parent)/follow-up"
            _ = try await rig.request("POST", path, #"{"to":"not_acknowledged"}"#).problem(409, "not-sent")
            #expect(
                try await rig.request("POST", "/v1/blasts/\(parent)/send", headers: ["Idempotency-Key": "k"]).status
                    == 202)
            let sets: [DeliveryFacts] = [
                .init(.pending, .sent), .init(.pending, .sent, .acknowledged), .init(.pending, .deferred, .expired),
                .init(.pending, .bouncedInvalid), .init(.pending, .deferred), .init(.pending, .inDoubt),
                .init(.pending, .sent, .delivered, .opened), .init(.pending, .inDoubt, .unknown, .notSent),
            ]
            for (index, facts) in sets.enumerated() {
                _ = try await rig.owner.query(
                    "UPDATE delivery_status SET facts = $2 WHERE recipient_no = $1",
                    [.int4(Int32(index + 1)), .int(facts.bits)])
            }
            for (order, chosen, open) in [
                (#"{"to":"not_acknowledged"}"#, [1, 3, 4, 6, 7, 8], 1), (#"{"to":"not_handed_over"}"#, [3, 4, 8], 1),
                (#"{"to":"Sent","vocabulary":"iclasspro"}"#, [1, 6], 1),
                (#"{"to":"Bounced","vocabulary":"schoolmessenger"}"#, [3], 0),
                (#"{"with":["sent"],"without":["opened"],"subject":"Again {{bus}}"}"#, [1, 2], 0),
            ] {
                let answer = try await rig.request("POST", path, order)
                #expect(answer.status == 201, "\(order): \(answer.text)")
                let made = try answer.json()
                #expect(made["in_progress"] as? Int == open, "\(order)")
                let child = try #require(made["blast_id"] as? String)
                #expect(answer.headers["location"] == "/v1/blasts/\(child)")
                #expect(made["audience"] as? Int == chosen.count, "\(order)")
                for table in ["recipient", "delivery_status"] {
                    #expect(try await rig.count(table, child) == Int64(chosen.count))
                }
                let rows = try await rig.owner.query(
                    """
                    SELECT c.recipient_no, p.recipient_no AS original,
                           to_jsonb(c) - '{blast_id,recipient_no}'::text[]
                               = to_jsonb(p) - '{blast_id,recipient_no}'::text[] AS same
                      FROM recipient c JOIN recipient p ON p.blast_id = $2::text::uuid AND p.address = c.address
                     WHERE c.blast_id = $1::text::uuid ORDER BY c.recipient_no
                    """, [.text(child), .text(parent)])
                #expect(try rows.map { Int(try $0.int("original")) } == chosen, "\(order)")
                #expect(try rows.map { Int(try $0.int("recipient_no")) } == Array(1...chosen.count))
                #expect(try rows.allSatisfy { try $0.bool("same") })
                let draft = try await rig.request("GET", "/v1/blasts/\(child)").json()
                #expect(draft["state"] as? String == "draft")
                #expect(draft["parent_blast_id"] as? String == parent)
                #expect(draft["html"] as? String == "<p>Hi {{name}}</p><a href=\"https://x.example/a\">a</a>")
                #expect(
                    draft["subject"] as? String == (order.contains("Again") ? "Again {{bus}}" : "Bus {{bus}} is late"))
                let sent = try await rig.request(
                    "POST", "/v1/blasts/\(child)/send", headers: ["Idempotency-Key": child])
                #expect(sent.status == 202, "\(sent.text)")
            }
            let before = try await rig.snapshot()
            for order in [
                "{}", #"{"to":"Unheard"}"#, #"{"to":"Sent","with":["sent"]}"#, #"{"with":["unheard"]}"#,
                #"{"to":"Sent","vocabulary":"x"}"#, #"{"to":"not_acknowledged","nothing":1}"#,
            ] { _ = try await rig.request("POST", path, order).problem(422, "invalid-members") }
            _ = try await rig.request("POST", path, #"{"with":["complained"]}"#).problem(422, "nobody-matches")
            _ = try await rig.request("POST", path, #"{"to":"not_acknowledged"}"#, key: rig.foreignKey)
                .problem(404, "no-such-blast")
            #expect(try await rig.snapshot() == before)
        }
    }
}
