import Delivery
import Foundation
import Postgres
import TestKit
import Testing

@testable import report_api

extension ReportRig {
    func put(_ path: String, _ body: String, key: String? = nil) async throws -> HTTP.Answer {
        try await HTTP.request(
            "PUT", "http://127.0.0.1:\(port)\(path)", headers: ["Authorization": "Bearer \(key ?? adminKey)"],
            body: Data(body.utf8))
    }

    func set(_ vocabulary: String, _ lateBounce: String, _ opens: String, zone: String = "America/Chicago")
        async throws
    {
        let answer = try await put(
            "/v1/settings",
            #"{"vocabulary":"\#(vocabulary)","late_bounce":"\#(lateBounce)","opens":"\#(opens)","time_zone":"\#(zone)"}"#
        )
        #expect(answer.status == 200, "\(answer.text)")
    }

    /// A hash over every row of the tables that hold what is known about deliveries.
    func storedFacts() async throws -> [String] {
        var hashes: [String] = []
        for table in ["delivery_status", "delivery_log", "blast_count", "delivery_problem"] {
            let row = try await owner.query(
                "SELECT md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '')) AS hash FROM \(table) t")[0]
            hashes.append(try row.string("hash"))
        }
        return hashes
    }
}

@Suite struct `District settings` {
    /// The word, worked out from the masks and nothing of the reading's own code.
    private static func word(_ facts: DeliveryFacts, _ vocabulary: StatusVocabulary, _ late: String, _ opens: String)
        -> String
    {
        var bits = facts.bits
        if opens == "all", bits >> 46 & 1 == 1 { bits |= 1 << 34 }
        let masked = bits & vocabulary.mask.bits
        var top: Int = Array(0...52).last(where: { masked >> Int64($0) & 1 == 1 }) ?? 0
        if top == 30, late == "shown", bits >> 27 & 1 == 1 || bits >> 26 & 1 == 1 {
            top = bits >> 27 & 1 == 1 ? 27 : 26
        }
        return DeliveryFact(rawValue: UInt8(top)).flatMap { vocabulary.words[$0]?.text } ?? ""
    }

    private static func people() -> [ReportRig.Person] {
        var random = SeededGenerator(seed: 41)
        let telling: [[DeliveryFact]] = [
            [.sent, .delivered], [.sent, .delivered, .bounced], [.sent, .delivered, .bouncedInvalid],
            [.sent, .delivered, .bounced, .opened], [.sent, .delivered, .bounced, .machineOpen],
            [.sent, .delivered, .machineOpen], [.sent, .machineOpen, .opened], [.sent, .machineClick],
            [.sent, .bounced], [.sent, .delivered, .bounced, .optedOut], [.sent, .bounced, .complained],
        ]
        return telling.map { ReportRig.Person(facts: DeliveryFacts($0).union(.pending)) }
            + (0..<60).map { _ in ReportRig.Person(facts: randomFacts(using: &random)) }
    }

    @Test func `every combination changes words and numbers at once, and no stored fact`() async throws {
        try await ReportRig.run { rig in
            let people = Self.people()
            let blast = try await rig.blast(people)
            try await rig.record(blast, 1, .delivered, source: "event-ingester", "250 2.0.0 ok")
            let cookie = try await rig.session(key: rig.readKey)
            let before = try await rig.storedFacts()
            var summaries: Set<[String: Int]> = []
            for vocabulary in StatusVocabulary.all {
                for late in ["frozen", "shown"] {
                    for opens in ["human", "all"] {
                        let name = "\(vocabulary.name), \(late), \(opens)"
                        try await rig.set(vocabulary.name, late, opens)
                        let expected = people.map { Self.word($0.facts, vocabulary, late, opens) }
                        let numbers = Dictionary(expected.map { ($0, 1) }, uniquingKeysWith: +)
                        let counts = try await rig.get("/v1/blasts/\(blast)/counts").json()
                        let words = try #require(counts["words"] as? [[String: Any]])
                        let told = Dictionary(
                            words.map { ($0["word"] as? String ?? "", $0["n"] as? Int ?? -1) }, uniquingKeysWith: +)
                        #expect(told.filter { $0.value != 0 } == numbers, "\(name)")
                        #expect(told.values.reduce(0, +) == people.count && counts["audience"] as? Int == people.count)
                        #expect(counts["vocabulary"] as? String == vocabulary.name)
                        #expect(counts["late_bounces"] as? Int == people.count { $0.facts.isLateBounce }, "\(name)")
                        summaries.insert(numbers)
                        // The list, the filter and a search show the same words.
                        let rows = try await rig.all("/v1/blasts/\(blast)/recipients?limit=500")
                        #expect(rows.compactMap { $0["status"] as? String } == expected, "\(name)")
                        for word in vocabulary.wordsInOrder {
                            let filter = "status=\(FormFields.escape(word))&limit=500"
                            let wanted = expected.indices.filter { expected[$0] == word }.map { $0 + 1 }
                            for query in [filter, filter + "&q=pat"] {
                                let found = try await rig.all("/v1/blasts/\(blast)/recipients?\(query)")
                                #expect(found.compactMap { $0["recipient_no"] as? Int } == wanted, "\(name): \(word)")
                            }
                        }
                        let page = try await rig.page("/blasts/\(blast)", cookie: cookie)
                        let table = try #require(
                            page.text.firstMatch(of: /(?s)<table class="counts">(.*?)<\/table>/)
                        ).output.1
                        let cells = table.matches(of: /<\/th><td class="number">(\d+)<\/td>/)
                            .compactMap { Int($0.output.1) }
                        #expect(cells.dropLast().sorted() == numbers.values.sorted(), "\(name)")
                        #expect(cells.last == people.count)
                    }
                }
            }
            #expect(summaries.count == 20, "every combination tells something else")
            #expect(try await rig.storedFacts() == before)
        }
    }

    @Test func `a request may ask for another reading, which changes nothing for the next`() async throws {
        try await ReportRig.run { rig in
            let blast = try await rig.blast([.init(facts: DeliveryFacts(.pending, .sent, .delivered, .bounced))])
            let path = "/v1/blasts/\(blast)/recipients/1"
            func status(_ query: String) async throws -> String? {
                let json = try await rig.get(path + query).json()
                return (json["recipient"] as? [String: Any])?["status"] as? String
            }
            #expect(try await status("?vocabulary=crisisworks&late_bounce=shown") == "Failed")
            #expect(try await status("") == "Delivered")
            for bad in ["late_bounce=thawed", "opens=none", "vocabulary=x"] {
                let answer = try await rig.get("\(path)?\(bad)")
                #expect(answer.status == 400)
                #expect(try answer.json()["accepted"] is [String], "\(answer.text)")
            }
        }
    }

    @Test func `S-14 delivered and returned later says so beside the word, whichever shows`() async throws {
        try await ReportRig.run { rig in
            let blast = try await rig.blast([.init(facts: DeliveryFacts(.pending, .sent, .delivered, .bounced))])
            let cookie = try await rig.session(key: rig.readKey)
            for (late, word) in [("frozen", "Delivered"), ("shown", "Bounced")] {
                try await rig.set("schoolmessenger", late, "human")
                let page = try await rig.page("/blasts/\(blast)", cookie: cookie).text
                #expect(page.contains(">\(word)<span class=\"unseen\">"))
                #expect(page.contains("Delivered, and returned later."))
                #expect(page.contains("1 message was delivered and returned later."))
                let why = try await rig.page("/blasts/\(blast)/recipients/1", cookie: cookie).text
                #expect(why.contains("The mail server confirmed the delivery and returned the message later."))
            }
        }
    }

    @Test func `a change is made by an administrator only, and recorded with who, when, from what and to what`()
        async throws
    {
        try await ReportRig.run { rig in
            try await rig.set("crisisworks", "shown", "human")
            try await rig.set("crisisworks", "shown", "all", zone: "America/Denver")
            let same = try await rig.get("/v1/settings").json()
            #expect(same["vocabulary"] as? String == "crisisworks" && same["opens"] as? String == "all")
            func changes() async throws -> [String] {
                let list = try await rig.get("/v1/settings").json()["changes"] as? [[String: Any]] ?? []
                return list.map { change in
                    ["setting", "from", "to", "actor"].map { change[$0] as? String ?? "" }.joined(separator: " ")
                }
            }
            #expect(
                try await Set(changes()) == [
                    "vocabulary canonical crisisworks Desk", "late_bounce frozen shown Desk", "opens human all Desk",
                    "time_zone America/Chicago America/Denver Desk",
                ])
            #expect(try await changes().prefix(2).allSatisfy { !$0.hasPrefix("vocabulary") }, "the newest first")
            for (body, status) in [
                ("{}", 400), ("no", 400),
                (#"{"vocabulary":"x","late_bounce":"shown","opens":"all","time_zone":"UTC"}"#, 422),
                (#"{"vocabulary":"canonical","late_bounce":"no","opens":"all","time_zone":"UTC"}"#, 422),
                (#"{"vocabulary":"canonical","late_bounce":"shown","opens":"no","time_zone":"UTC"}"#, 422),
                (#"{"vocabulary":"canonical","late_bounce":"shown","opens":"all","time_zone":"Mars"}"#, 422),
                // Foundation takes it; PostgreSQL, which reckons quiet hours, does not.
                (#"{"vocabulary":"canonical","late_bounce":"shown","opens":"all","time_zone":"GMT+0530"}"#, 422),
            ] {
                #expect(try await rig.put("/v1/settings", body).status == status, "\(body)")
            }
            let good = #"{"vocabulary":"canonical","late_bounce":"shown","opens":"all","time_zone":"UTC"}"#
            #expect(try await rig.put("/v1/settings", good, key: rig.readKey).status == 403)
            #expect(try await rig.put("/v1/settings", good, key: rig.sendKey).status == 403)
            #expect(try await changes().count == 4)
            let foreign = try await rig.get("/v1/settings", key: rig.foreignKey).json()
            #expect(foreign["name"] as? String == "Other" && (foreign["changes"] as? [Any])?.isEmpty == true)
            // Nobody changes a setting unseen.
            _ = try await rig.owner.query("UPDATE district SET opens = 'human' WHERE district_id = 1")
            #expect(try await changes().first?.hasPrefix("opens all human ") == true)
        }
    }

    @Test func `the settings page changes them for administrators and shows them to everybody else`() async throws {
        try await ReportRig.run { rig in
            let form = "vocabulary=iclasspro&late_bounce=shown&opens=all&time_zone=America%2FNew_York"
            func send(_ key: String) async throws -> HTTP.Answer {
                try await rig.post(
                    "/settings", form,
                    headers: [
                        "Cookie": try await rig.session(key: key), "Content-Type": "application/x-www-form-urlencoded",
                    ])
            }
            #expect(try await send(rig.readKey).status == 403)
            #expect(try await send(rig.adminKey).status == 303)
            let reader = try await rig.page("/settings", cookie: try await rig.session(key: rig.readKey)).text
            #expect(reader.contains("<fieldset disabled>") && !reader.contains("<button>Save</button>"))
            let page = try await rig.page("/settings", cookie: try await rig.session(key: rig.adminKey)).text
            for text in [
                #"<option value="iclasspro" selected>"#, #"<option value="shown" selected>"#,
                #"<option value="all" selected>"#, #"value="America/New_York""#,
                "<bdi>Desk</bdi> changed “A message that was delivered and came back later” from “<bdi>stays delivered</bdi>”"
                    + " to “<bdi>shows as returned, unless it was opened</bdi>”",
                "<bdi>Desk</bdi> changed “Status words of” from",
                "<button>Save</button>",
            ] {
                #expect(page.contains(text), "\(text)")
            }
        }
    }
}
