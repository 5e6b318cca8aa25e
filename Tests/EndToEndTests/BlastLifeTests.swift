import Delivery
import Foundation
import Postgres
import Runtime
import Signing
import TestKit
import Testing

/// What people do with a blast while it is being sent, through all services.
@Suite(.serialized) struct `A blast under way` {
    private static func successes(_ count: Int, _ tag: String) -> [ListedRecipient] {
        (0..<count).map { ListedRecipient("success-\($0)\(tag)@families.example", .delivered, accepted: true) }
    }

    @Test func `waits for the operators, goes on, is cancelled, and its counts are the audience at every moment`()
        async throws
    {
        try await BlastRig.with("blast-life") { rig in
            let list = Self.successes(3000, "general")
            let blast = try await rig.send(list, subject: "Report cards")
            var sums: Set<Int64> = []
            func look() async throws {
                let rows = try await rig.database.query(
                    "SELECT sum(n)::bigint AS n FROM blast_count WHERE blast_id = $1", [.uuid(blast)])
                sums.insert(try rows[0].int("n"))
            }
            func started() async throws -> Int64 {
                try await look()
                return try await rig.database.query(
                    "SELECT count(*) AS n FROM attempt WHERE blast_id = $1 AND state = 'accepted'", [.uuid(blast)]
                )[0].int("n")
            }
            _ = try await eventually("the blast is under way") {
                try await started()
            } until: {
                $0 > 100
            }
            let paused = try await rig.rollcall("pause", "--all", "--reason", "the relay is on fire")
            #expect(paused.status == 0, "\(paused.output)")
            let shown = try await rig.call("GET", "/v1/blasts/\(blast)", "report").json()
            #expect(shown["operator_pause"] as? String == "the relay is on fire")
            #expect(try await rig.rollcall("pause", "--status").output.contains("the relay is on fire"))
            // Whoever had looked before the pause was there has written what it put on the wire by now.
            try await eventually("what was on the wire is finished") {
                try await rig.database.query("SELECT 1 FROM attempt WHERE state = 'wire'").isEmpty
            }
            let before = try await started()
            #expect(before < 3000)
            // An emergency that comes through meanwhile shows that senders work, and that it alone may go out.
            let alarm = Self.successes(20, "alarm")
            let emergency = try await rig.send(alarm, subject: "Evacuate", class: "emergency")
            try await rig.expectStatuses(of: emergency, alarm)
            #expect(try await started() == before)

            #expect(try await rig.rollcall("resume", "--all").status == 0)
            _ = try await eventually("sending goes on") {
                try await started()
            } until: {
                $0 > before
            }
            #expect(try await rig.call("POST", "/v1/blasts/\(blast)/cancel").status == 200)
            _ = try await eventually("everybody was sent to or told", every: .milliseconds(200)) {
                try await look()
                return try await rig.settledCount(blast)
            } until: {
                $0 == 3000
            }
            let facts = try await rig.facts(of: blast)
            let cancelled = facts.filter { $0.value.contains(.cancelled) }
            #expect(!cancelled.isEmpty)
            let accepted = try rig.acceptances()
            for number in cancelled.keys {
                #expect(accepted[DeliveryID(blast: blast, recipientNumber: number)] == nil)
            }
            #expect(accepted.keys.count { $0.blast == blast } + cancelled.count == 3000)
            #expect(sums == [3000])
            try await rig.expectCounts(of: blast, audience: 3000)
            try await rig.expectCleanAudit()
        }
    }

    @Test func `lets an emergency overtake it, and a small district's blast as well`() async throws {
        try await BlastRig.with("blast-overtaken") { rig in
            let key = try #require(APIKey.generate())
            _ = try await rig.database.query("INSERT INTO district (district_id, name) VALUES (2, 'Shelbyville')")
            _ = try await rig.database.query(
                "INSERT INTO api_key (key_id, district_id, secret_sha256, scopes, label) VALUES ($1, 2, $2, $3, 'test')",
                [.text(key.key.id), .bytes(key.key.secretSHA256), .textArray(["send"])])
            let huge = try await rig.send(Self.successes(5000, "huge"), subject: "Yearbook")
            func accepted() throws -> [DeliveryID] { try rig.acceptedInOrder() }
            _ = try await eventually("the huge blast is under way") {
                try accepted().count
            } until: {
                $0 > 100
            }
            let small = try await rig.send(Self.successes(100, "small"), subject: "Picnic", key: key.text)
            let emergency = try await rig.send(Self.successes(100, "alarm"), subject: "Evacuate", class: "emergency")
            let ordered = try accepted().count
            let order = try await eventually("all are through", within: .seconds(400), every: .seconds(1)) {
                try accepted()
            } until: {
                Set($0).count == 5200
            }.map(\.blast)
            func waited(_ blast: BlastID) -> Int {
                let last = order.lastIndex(of: blast) ?? order.endIndex - 1
                return order[ordered...max(ordered, last)].count { $0 == huge }
            }
            let left = 5000 - order.prefix(ordered).count { $0 == huge }
            print(
                "of \(left) messages left: \(waited(emergency)) before the emergency, \(waited(small)) before the small blast"
            )
            try #require(left > 1000, "the huge blast was over before it could be overtaken")
            #expect(waited(emergency) < left / 2)
            #expect(waited(small) < left / 2)
        }
    }

    @Test func `stops with its guard, and an emergency then goes out all the same`() async throws {
        let settings = ["ROLLCALL_SENDER_GUARD_FRESHNESS": "2s", "ROLLCALL_SENDER_EMERGENCY_PATIENCE": "2s"]
        try await BlastRig.with("blast-unguarded", settings) { rig in
            let huge = try await rig.send(Self.successes(5000, "huge"), subject: "Yearbook")
            func accepted(_ blast: BlastID) throws -> Int { try rig.acceptedInOrder().count { $0.blast == blast } }
            _ = try await eventually("the huge blast is under way") {
                try accepted(huge)
            } until: {
                $0 > 100
            }
            try await rig.process("blacklist-guard").kill()
            // Twice the time: who looked at the end of the first has written what it put on the wire.
            let stale = """
                SELECT (SELECT count(*) FROM guard_progress WHERE caught_up_at > clock_timestamp() - interval '4 seconds')
                       + (SELECT count(*) FROM attempt WHERE state = 'wire') AS n
                """
            try await eventually("nobody knows who is blocked, and nothing is on the wire") {
                try await rig.database.query(stale)[0].int("n") == 0
            }
            let before = try accepted(huge)
            try #require(before < 5000, "the huge blast was over before its guard was missed")
            let ordered = ContinuousClock.now
            let emergency = try await rig.send(Self.successes(100, "alarm"), subject: "Evacuate", class: "emergency")
            try await eventually("the emergency is through") { try accepted(emergency) == 100 }
            print("the emergency was through \(ordered.duration(to: .now)) after its order, patience of 2 s included")
            #expect(try accepted(huge) == before)
            try rig.start("blacklist-guard")
            try await eventually("the huge blast goes on") { try accepted(huge) > before }
            #expect(try rig.acceptances().allSatisfy { $0.value == 1 })
        }
    }

    @Test func `is handed over by two senders together no faster than the rate, to everybody once, and settles`()
        async throws
    {
        try await BlastRig.with(
            "blast-rates",
            [
                "ROLLCALL_SENDER_RATES": "families.example=60,*=1000", "ROLLCALL_SENDER_RESULT_WITHIN": "2s",
                "ROLLCALL_SENDER_CHUNK_SIZE": "20",
            ]
        ) { rig in
            try rig.start("sender", as: "sender-2")
            try await rig.ready("sender-2")
            let silent = (0..<10).map { number in
                ListedRecipient("silent-\(number)paced@families.example", .sent, accepted: true)
            }
            let list = Self.successes(470, "paced") + silent
            let blast = try await rig.send(list, subject: "Book fair")
            try await rig.expectStatuses(of: blast, list)
            try rig.expectAcceptances(of: blast, list, extra: 0)
            let rows = try await rig.database.query(
                """
                SELECT extract(epoch FROM max(wire_at) - min(wire_at))::float8 AS seconds, count(*) AS n,
                       count(DISTINCT lease_token) AS senders
                  FROM attempt WHERE blast_id = $1 AND state = 'accepted'
                """, [.uuid(blast)])
            #expect(try rows[0].int("n") == 480)
            // 480 messages fill eight seconds, of which the first and the last may be nearly empty.
            #expect(try rows[0].double("seconds") > 5)
            // A sender that was kept waiting takes another token.
            #expect(try rows[0].int("senders") >= 2)
            // Whose mail server says nothing keeps Sent, and is not waited for.
            _ = try await eventually("the blast is settled", every: .milliseconds(500)) {
                try await rig.call("GET", "/v1/blasts/\(blast)/counts", "report").json()["state"] as? String
            } until: {
                $0 == "settled"
            }
            let facts = try await rig.facts(of: blast)
            for number in 471...480 {
                #expect(facts[Int32(number)] == DeliveryFacts(.pending, .sent, .unconfirmed), "\(number)")
            }
            try await rig.expectTopicAgrees(with: blast)
            try await rig.expectCleanAudit()
        }
    }
}
