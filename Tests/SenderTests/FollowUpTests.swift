import Delivery
import Foundation
import Postgres
import Runtime
import TestKit
import Testing

@testable import sender

@Suite(.timeLimit(.minutes(5))) struct `A follow-up` {
    private static func time(_ seconds: Double) -> String {
        Date(timeIntervalSinceNow: seconds).formatted(.iso8601)
    }

    /// Any facts at all, of a delivery that was handed over.
    private static func facts(using random: inout SeededGenerator) -> DeliveryFacts {
        (0..<Int.random(in: 0...4, using: &random)).reduce(DeliveryFacts(.pending, .sent)) { facts, _ in
            facts.union(DeliveryFact.allCases.randomElement(using: &random) ?? .sent)
        }
    }

    @Test func `a follow-up takes over everything that its parent's draft says but its times`() async throws {
        try await IntakeRig.run { rig in
            let parent = try await rig.blast(
                """
                {"subject":"s","html":"<p>h {{respond_url}}</p>","text":"t","reply_to":"r@d.example","channels":["email"],
                 "from":{"address":"o@d.example","name":"O"},"category":"sports","class":"emergency","school":"North",
                 "in_doubt_policy":"at_most_once","dedupe_key":"address+person","answers":["Yes","No"],
                 "send_at":"\(Self.time(3600))","not_after":"\(Self.time(7200))"}
                """)
            #expect(try await rig.upload(parent, "email\na@x.example\n").status == 200)
            _ = try await rig.request("POST", "/v1/blasts/\(parent)/send", headers: ["Idempotency-Key": "k"])
            _ = try await rig.owner.query("UPDATE blast SET state = 'sending'")
            _ = try await rig.owner.query(
                "UPDATE delivery_status SET facts = $1", [.int(DeliveryFacts(.pending, .sent).bits)])
            let made = try await rig.request("POST", "/v1/blasts/\(parent)/follow-up", #"{"with":["sent"]}"#).json()
            let child = try await rig.request("GET", "/v1/blasts/\(try #require(made["blast_id"] as? String))").json()
            let own: Set<String> = [
                "blast_id", "state", "parent_blast_id", "created_at", "send_at", "not_after", "send_requested_at",
                "requested_by",
            ]
            var before = try await rig.request("GET", "/v1/blasts/\(parent)").json()
            before = before.filter { !own.contains($0.key) }
            #expect(before.count == 16, "\(before.keys.sorted())")
            let after = child.filter { !own.contains($0.key) }
            #expect(NSDictionary(dictionary: before) == NSDictionary(dictionary: after))
            // New templates take the place of all the old ones, and answers go with the question.
            for (text, answers) in [("Bring the form.", []), ("Again: {{respond_url}}", ["Yes", "No"])] {
                let made = try await rig.request(
                    "POST", "/v1/blasts/\(parent)/follow-up", #"{"with":["sent"],"text":"\#(text)"}"#)
                #expect(made.status == 201, "\(made.text)")
                let id = try #require(made.json()["blast_id"] as? String)
                let child = try await rig.request("GET", "/v1/blasts/\(id)").json()
                #expect(child["text"] as? String == text && child["html"] == nil)
                #expect(child["answers"] as? [String] == answers)
            }
        }
    }

    @Test func `the word of a follow-up is read as the district's report shows it`() async throws {
        try await IntakeRig.run { rig in
            let parent = try await rig.blast(IntakeRig.draft)
            var random = SeededGenerator(seed: 11)
            let sets =
                [DeliveryFacts(.pending, .sent, .delivered, .bounced), DeliveryFacts(.pending, .sent, .machineOpen)]
                + (0..<60).map { _ in Self.facts(using: &random) }
            let list = "email,name,bus\n" + sets.indices.map { "p\($0)@x.example,P,\($0)\n" }.joined()
            #expect(try await rig.upload(parent, list).status == 200)
            _ = try await rig.owner.query(
                """
                UPDATE delivery_status s SET facts = f.facts
                  FROM unnest($1::bigint[]) WITH ORDINALITY AS f (facts, n) WHERE s.recipient_no = f.n
                """, [.int8Array(sets.map(\.bits))])
            for vocabulary in StatusVocabulary.all {
                for late in StatusReading.LateBounce.allCases {
                    for opens in StatusReading.Opens.allCases {
                        let reading = StatusReading(vocabulary, lateBounce: late, opens: opens)
                        for word in vocabulary.wordsInOrder {
                            let rows = try await rig.owner.query(
                                """
                                SELECT recipient_no FROM delivery_status s
                                 WHERE \(FollowUp.condition(word, in: reading)) ORDER BY 1
                                """)
                            let chosen = try rows.map { Int(try $0.int("recipient_no")) - 1 }
                            #expect(
                                chosen == sets.indices.filter { reading.word(for: sets[$0]) == word },
                                "\(word) in \(vocabulary.name), \(late), \(opens)")
                        }
                    }
                }
            }
            _ = try await rig.request("POST", "/v1/blasts/\(parent)/send", headers: ["Idempotency-Key": "k"])
            _ = try await rig.owner.query(
                """
                UPDATE district SET vocabulary = 'crisisworks', late_bounce = 'shown', opens = 'all' WHERE district_id = 1
                """)
            let usual = StatusReading(
                try #require(StatusVocabulary.named("crisisworks")), lateBounce: .shown, opens: .all)
            let word = usual.word(for: sets[0])
            for (more, reading) in [
                ("", usual),
                (#","late_bounce":"frozen","opens":"human""#, StatusReading(usual.vocabulary)),
            ] {
                let answer = try await rig.request(
                    "POST", "/v1/blasts/\(parent)/follow-up", #"{"to":"\#(word)"\#(more)}"#)
                let expected = sets.count { reading.word(for: $0) == word }
                #expect(try answer.json()["audience"] as? Int == expected, "\(answer.text)")
            }
        }
    }
}
