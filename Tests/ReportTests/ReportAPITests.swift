import Delivery
import Foundation
import Postgres
import TestKit
import Testing

@testable import report_api
@testable import status_projector

@Suite struct `The report API` {
    private static func people(_ count: Int, seed: UInt64) -> [ReportRig.Person] {
        var random = SeededGenerator(seed: seed)
        return (1...count).map { number in
            ReportRig.Person(
                name: "Person \(number)", address: "p\(number)@district.example", facts: randomFacts(using: &random))
        }
    }

    @Test func `counts add up to the audience in every vocabulary`() async throws {
        try await ReportRig.run { rig in
            let people = Self.people(300, seed: 1)
            let blast = try await rig.blast(people)
            for vocabulary in StatusVocabulary.all {
                let json = try await rig.get("/v1/blasts/\(blast)/counts?vocabulary=\(vocabulary.name)").json()
                let words = try #require(json["words"] as? [[String: Any]])
                #expect(words.compactMap { $0["word"] as? String } == vocabulary.wordsInOrder)
                #expect(words.compactMap { $0["n"] as? Int }.reduce(0, +) == people.count)
                #expect(json["audience"] as? Int == people.count)
                for word in words {
                    let text = try #require(word["word"] as? String)
                    let expected = people.count { vocabulary.word(for: $0.facts) == text }
                    #expect(word["n"] as? Int == expected, "\(vocabulary.name): \(text)")
                }
                #expect(json["late_bounces"] as? Int == people.count { $0.facts.isLateBounce })
                #expect(json["complaints"] as? Int == people.count { $0.facts.contains(.complained) })
                #expect(json["machine_opens"] as? Int == people.count { $0.facts.contains(.machineOpen) })
            }
        }
    }

    @Test func `a status filter gives exactly the recipients that show the word`() async throws {
        try await ReportRig.run { rig in
            let people = Self.people(240, seed: 2)
            let blast = try await rig.blast(people)
            func numbers(_ status: String, _ vocabulary: StatusVocabulary) async throws -> [Int] {
                let items = try await rig.all(
                    "/v1/blasts/\(blast)/recipients?limit=50&vocabulary=\(vocabulary.name)&status=\(FormFields.escape(status))"
                )
                for item in items where vocabulary.wordsInOrder.contains(status) {
                    #expect(item["status"] as? String == status)
                }
                return items.compactMap { $0["recipient_no"] as? Int }
            }
            func expected(_ condition: (DeliveryFacts) -> Bool) -> [Int] {
                people.indices.filter { condition(people[$0].facts) }.map { $0 + 1 }
            }
            for vocabulary in StatusVocabulary.all {
                for word in vocabulary.wordsInOrder {
                    #expect(
                        try await numbers(word, vocabulary) == expected { vocabulary.word(for: $0) == word },
                        "\(vocabulary.name): \(word)")
                }
            }
            for fact in DeliveryFacts.canonicalMask.facts {
                #expect(try await numbers(fact.name, .canonical) == expected { $0.canonicalStatus == fact }, "\(fact)")
            }
            #expect(try await numbers("late_bounce", .canonical) == expected(\.isLateBounce))
            let refused = try await rig.get("/v1/blasts/\(blast)/recipients?status=nonsense")
            #expect(refused.status == 400)
        }
    }

    @Test func `the troubles that are found by their own record are those that the projector records`() {
        #expect(StatusFilter.recorded == Fold.problems)
    }

    @Test func `a rare trouble is found among many by its own record`() async throws {
        try await ReportRig.run { rig in
            var people = (1...400).map { _ in ReportRig.Person(facts: DeliveryFacts(.pending, .sent)) }
            people[7].facts = DeliveryFacts(.pending, .sent, .bounced)
            people[8].facts = DeliveryFacts(.pending, .sent, .bounced, .delivered)
            people[300].facts = DeliveryFacts(.pending, .sent, .bounced)
            let blast = try await rig.blast(people)
            let items = try await rig.all("/v1/blasts/\(blast)/recipients?limit=1&status=bounced")
            #expect(items.compactMap { $0["recipient_no"] as? Int } == [8, 301], "one that was delivered is none")
        }
    }

    @Test(arguments: [1, 3, 50, 500]) func `pages hold every recipient once, in order`(limit: Int) async throws {
        try await ReportRig.run { rig in
            let blast = try await rig.blast(Self.people(31, seed: 3))
            let items = try await rig.all("/v1/blasts/\(blast)/recipients?limit=\(limit)")
            #expect(items.compactMap { $0["recipient_no"] as? Int } == Array(1...31))
            var blasts = [blast.description]
            for _ in 0..<4 { blasts.append(try await rig.blast(Self.people(1, seed: 4)).description) }
            let documents = try await rig.all("/v1/blasts?limit=\(limit)")
            #expect(documents.compactMap { $0["blast_id"] as? String } == blasts.sorted().reversed(), "newest first")
        }
    }

    @Test func `a search takes every character as it is`() async throws {
        try await ReportRig.run { rig in
            let names = [
                "100% Ann", "100 Ann", "under_score", "underxscore", #"back\slash"#, "backslash", "O'Brien; --",
                "ÉLODIE",
            ]
            let blast = try await rig.blast(
                names.map { ReportRig.Person(name: $0, address: "x@y.example", facts: .initial) })
            func found(_ text: String) async throws -> [String] {
                try await rig.all("/v1/blasts/\(blast)/recipients?q=\(FormFields.escape(text))")
                    .compactMap { $0["name"] as? String }
            }
            for name in names.dropLast() { #expect(try await found(name.lowercased()) == [name]) }
            #expect(try await found("%") == ["100% Ann"])
            #expect(try await found("_") == ["under_score"])
            #expect(try await found(#"\"#) == [#"back\slash"#])
            #expect(try await found("S-3").count == 1, "the person's reference is searched as well")
            #expect(try await found("X@Y.EXAMPLE").count == names.count)
            let nul = try await rig.get("/v1/blasts/\(blast)/recipients?q=%00")
            #expect(nul.status == 400)
        }
    }

    @Test func `another district's, expired and missing things are the same answer`() async throws {
        try await ReportRig.run { rig in
            let blast = try await rig.blast([.init(facts: .initial)])
            let expired = try await rig.blast([.init(facts: .initial)], state: "sent", expires: "2020-01-01Z")
            let missing = "01900000-0000-7000-8000-000000000000"
            let order = try await rig.post(
                "/v1/blacklist/reset", #"{"address":"a@b.example","reason":"new mailbox"}"#,
                headers: ["Authorization": "Bearer \(rig.adminKey)"])
            #expect(order.status == 202)
            let command = try #require(order.headers["location"])
            #expect(try await rig.get(command).json()["state"] as? String == "pending")
            func body(_ path: String, _ key: String) async throws -> [String: String] {
                let answer = try await rig.get(path, key: key)
                #expect(answer.status == 404, "\(path): \(answer.text)")
                var json = try answer.json()
                json["instance"] = nil
                return json.mapValues { "\($0)" }
            }
            for suffix in [
                "", "/counts", "/counts?vocabulary=x", "/recipients", "/recipients?status=x", "/recipients/1",
                "/recipients/x",
            ] {
                let wanted = try await body("/v1/blasts/\(missing)\(suffix)", rig.readKey)
                #expect(try await body("/v1/blasts/\(blast)\(suffix)", rig.foreignKey) == wanted, "\(suffix)")
                #expect(try await body("/v1/blasts/\(expired)\(suffix)", rig.readKey) == wanted, "I-22 \(suffix)")
                #expect(try await body("/v1/blasts/none\(suffix)", rig.readKey) == wanted, "\(suffix)")
            }
            #expect(try await body(command, rig.foreignKey) == body("/v1/commands/\(missing)", rig.readKey))
            #expect(try await rig.get("/v1/blasts", key: rig.foreignKey).text == #"{"items":[]}"#)
            #expect(try await rig.all("/v1/blasts").count == 1, "the expired document is not listed")
        }
    }

    @Test func `a key without the scope is refused, a wrong or revoked one is unknown`() async throws {
        try await ReportRig.run { rig in
            let wrong = String(rig.readKey.dropLast()) + (rig.readKey.hasSuffix("0") ? "1" : "0")
            for key in [wrong, "", "rck_x", "rck_0011223344556677_" + String(repeating: "0", count: 64)] {
                let answer = try await rig.get("/v1/blasts", key: key)
                #expect(answer.status == 401)
                #expect(answer.headers["www-authenticate"] != nil)
            }
            #expect(try await rig.get("/v1/blasts", key: rig.sendKey).status == 403)
            let reset = try await rig.post(
                "/v1/blacklist/reset", #"{"address":"a@b.example","reason":"r"}"#,
                headers: ["Authorization": "Bearer \(rig.readKey)"])
            #expect(reset.status == 403, "I-25")
            let cookie = try await rig.session(key: rig.readKey)
            #expect(try await rig.page("/", cookie: cookie).status == 200)
            _ = try await rig.owner.query("UPDATE api_key SET revoked_at = now()")
            #expect(try await rig.get("/v1/blasts").status == 401)
            #expect(try await rig.page("/", cookie: cookie).status == 303)
        }
    }

    @Test func `counts that did not change are not sent again`() async throws {
        try await ReportRig.run { rig in
            let blast = try await rig.blast([.init(facts: .initial), .init(facts: .initial)])
            let path = "/v1/blasts/\(blast)/counts"
            let tag = try #require(try await rig.get(path).headers["etag"])
            let same = try await rig.get(path, headers: ["If-None-Match": "\"x\", \(tag)"])
            #expect(same.status == 304)
            #expect(same.body.isEmpty && same.headers["etag"] == tag)
            #expect(try await rig.get(path + "?vocabulary=crisisworks", headers: ["If-None-Match": tag]).status == 200)
            _ = try await rig.owner.query(
                "INSERT INTO blast_count VALUES ($1, 3, 1, 1, -1), ($1, 3, 1048577, 1, 1)",
                [.uuid(high: blast.high, low: blast.low)])
            #expect(try await rig.get(path, headers: ["If-None-Match": tag]).status == 200)
        }
    }

    @Test func `a timeline tells everything in the order in which it became known`() async throws {
        try await ReportRig.run { rig in
            let blast = try await rig.blast([.init(facts: .initial), .init(facts: .initial)])
            try await rig.history(blast, 1, [.deferred, .sent, .opened, .delivered], firstSeq: 100)
            try await rig.history(blast, 2, [.sent, .bounced], firstSeq: 105)
            let json = try await rig.get("/v1/blasts/\(blast)/recipients/1").json()
            let timeline = try #require(json["timeline"] as? [[String: Any]])
            #expect(timeline.compactMap { $0["fact"] as? String } == ["deferred", "sent", "opened", "delivered"])
            #expect(timeline.compactMap { $0["seq"] as? Int } == [100, 110, 120, 130])
            let recipient = try #require(json["recipient"] as? [String: Any])
            #expect(recipient["canonical_status"] as? String == "opened")
            #expect(recipient["attempted"] as? Bool == true)
            #expect(try await rig.get("/v1/blasts/\(blast)/recipients/3").status == 404)
        }
    }

    @Test func `a blast is settled once every delivery is final`() async throws {
        try await ReportRig.run { rig in
            let cases: [(DeliveryFacts, stored: String, shown: String)] = [
                (.initial, "draft", "draft"), (DeliveryFacts(.pending, .delivered), "sending", "sending"),
                (DeliveryFacts(.pending, .sent), "sent", "sent"),
                (DeliveryFacts(.pending, .sent, .delivered), "sent", "settled"),
            ]
            for (facts, stored, shown) in cases {
                let blast = try await rig.blast(
                    [.init(facts: DeliveryFacts(.pending, .duplicate)), .init(facts: facts)], state: stored)
                let json = try await rig.get("/v1/blasts/\(blast)").json()
                #expect(json["title"] as? String == "Email Blast :: Snow day", "I-01")
                #expect(json["state"] as? String == shown)
            }
        }
    }

    @Test func `the blacklist is listed by address, page by page`() async throws {
        try await ReportRig.run { rig in
            for (index, address) in ["b@x.example", "a_1@x.example", "c@x.example"].enumerated() {
                _ = try await rig.owner.query(
                    """
                    INSERT INTO blacklist (district_id, address_hash, address, reason, active, first_seen, last_seen)
                    VALUES (1, $1, $2, 'bounce', $3, now(), now())
                    """, [.bytes([UInt8(index)]), .text(address), .bool(index < 2)])
            }
            func addresses(_ query: String) async throws -> [String] {
                try await rig.all("/v1/blacklist?limit=1\(query)").compactMap { $0["address"] as? String }
            }
            #expect(try await addresses("") == ["a_1@x.example", "b@x.example"])
            #expect(try await addresses("&state=all") == ["a_1@x.example", "b@x.example", "c@x.example"])
            #expect(try await addresses("&q=_") == ["a_1@x.example"])
        }
    }
}
