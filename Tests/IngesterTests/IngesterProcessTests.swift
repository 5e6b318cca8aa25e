import Contracts
import Delivery
import Foundation
import Glibc
import Kafka
import Postgres
import Signing
import TestKit
import Testing

@testable import event_ingester

/// Real processes, real sockets, real broker, real database.
@Suite(.serialized) struct `The ingester as a process` {
    @Test func `forged requests are refused without a reason and store nothing`() async throws {
        try await IngesterRig.with("ingester-forged") { rig in
            try await rig.start()
            let body = rig.batch([rig.event("e1", "bounced", 1)])
            let good = rig.signed(body)
            let now = Int64(Date().timeIntervalSince1970)
            let otherKey = try StandardWebhook(secrets: ["whsec_" + Data(repeating: 8, count: 32).base64EncodedString()]
            )
            let forgeries: [[String: String]] = [
                [:], good.merging(["webhook-signature": ""]) { $1 }, good.merging(["webhook-signature": "v1,"]) { $1 },
                good.merging(["webhook-id": "msg-2"]) { $1 }, good.merging(["webhook-timestamp": "\(now - 1)"]) { $1 },
                rig.signed(body + " "), rig.signed(body, at: now - 3600), rig.signed(body, at: now + 3600),
                good.merging([
                    "webhook-signature": otherKey.sign(id: "msg-1", timestampSeconds: now, body: Array(body.utf8))
                ]) { $1 },
                good.merging(["webhook-signature": (good["webhook-signature"] ?? "").replacing("v1,", with: "v2,")]) {
                    $1
                },
            ]
            for forgery in forgeries {
                let answer = try await rig.request("POST", "/webhooks/standard", forgery, body: body)
                #expect(answer.status == 401, "\(forgery)")
                #expect(try answer.json()["detail"] == nil)
            }
            #expect(try await rig.post([rig.event("e2", "delivered", 2)]).status == 202)
            #expect(try await rig.published().map(\.id) == ["webhook/e2"])
        }
    }

    @Test func `a batch is applied but for its bad events, which are parked once each with a reason`() async throws {
        try await IngesterRig.with("ingester-mixed") { rig in
            try await rig.start()
            let mark = UUID().uuidString
            let bad = [
                #"{"id":"\#(mark)"}"#, #"{"id":"\#(mark)","id":"x"}"#, rig.event(mark, "exploded", 1),
                rig.event("\(mark) with spaces", "sent", 1), rig.event(mark, "sent", 1, #","smtp_code":1e400"#),
                rig.event(mark, "sent", 1, #","detail":"\u0000""#), "[\"\(mark)\"]", "\"\(mark)\"",
            ]
            var events = (1...500).map { rig.event("ok-\($0)", "delivered", Int32($0)) }
            for (index, event) in bad.enumerated() { events.insert(event, at: index * 50) }
            for _ in 1...2 {
                let answer = try await rig.post(events)
                #expect(answer.status == 202)
                let counts = try answer.json()
                #expect(counts["accepted"] as? Int == 500)
                #expect(counts["rejected"] as? Int == bad.count)
                #expect((counts["reasons"] as? [[String: Any]])?.first?["index"] as? Int == 0)
            }
            let published = try await rig.published()
            #expect(published.count == 1000)
            #expect(Set(published.map(\.id)).count == 500, "saying it again repeats the ids")
            #expect(published.allSatisfy { $0.fact == .delivered && $0.district == DistrictID(1) })
            let parked = try await rig.stack.readAll(.deadLetters).filter {
                String(decoding: $0.value ?? [], as: UTF8.self).contains(mark)
            }
            #expect(parked.count == 2 * bad.count)
            #expect(Set(parked.compactMap { $0.header("ce_id") }).count == bad.count)
            #expect(parked.allSatisfy { $0.header("rollcall-reason")?.isEmpty == false })
        }
    }

    @Test func `what is no batch is refused whole`() async throws {
        try await IngesterRig.with("ingester-malformed") { rig in
            try await rig.start()
            func status(_ body: String, _ more: [String: String] = [:]) async throws -> Int {
                try await rig.request("POST", "/webhooks/standard", rig.signed(body).merging(more) { $1 }, body: body)
                    .status
            }
            #expect(try await status("") == 400)
            #expect(try await status(#"{"events":[{}"#) == 400)
            #expect(try await status(#"{"events":[\#(String(repeating: "0,", count: 2000))0]}"#) == 413)
            #expect(try await status(String(repeating: " ", count: WebhookRoute.bodyMax + 1)) == 413)
            #expect(try await status(#"{"events":[]}"#, ["Content-Encoding": "gzip"]) == 415)
            #expect(try await status(#"{"events":[]}"#) == 202)
            #expect(try await rig.request("GET", "/webhooks/standard").status == 405)
            #expect(try await rig.request("GET", "/nothing").status == 404)
            #expect(try await rig.published().isEmpty)
        }
    }

    @Test func `a provider that never got its answer tells it again, and one event comes of it`() async throws {
        try await IngesterRig.with("ingester-after-ack") { rig in
            let victim = try await rig.start("victim", ["ROLLCALL_FAULT_POINT": "ingester.after-ack"])
            await #expect(throws: (any Error).self) { try await rig.post([rig.event("e", "bounced", 1)]) }
            try await victim.ended(within: .seconds(120))
            try await rig.start("next")
            #expect(try await rig.post([rig.event("e", "bounced", 1)]).status == 202)
            let published = try await rig.published()
            #expect(published.count == 2)
            #expect(Set(published).count == 1)
        }
    }

    @Test func `without a broker webhooks are told to come again, and readers are served`() async throws {
        try await IngesterRig.with("ingester-outage", ownStack: true) { rig in
            let ingester = try await rig.start()
            #expect(try await rig.post([rig.event("before", "sent", 1)]).status == 202)
            try await rig.stack.killBroker()
            let answer = try await rig.post([rig.event("during", "delivered", 1)])
            #expect(answer.status == 503)
            #expect(answer.headers["retry-after"] != nil)
            let unsubscription = try await rig.request(
                "POST", "/u/\(rig.token(.unsubscribe, 3))", ["Content-Type": "application/x-www-form-urlencoded"],
                body: "List-Unsubscribe=One-Click")
            #expect(unsubscription.status == 503)
            #expect(unsubscription.headers["retry-after"] != nil)
            #expect(unsubscription.text.contains("Please try again"))
            #expect(try await rig.request("GET", "/o/\(rig.token(.open, 2)).gif").status == 200)
            #expect(try await rig.click(rig.token(.click, 4, link: 2)).status == 302)
            try await rig.stack.startBroker()
            try await rig.stack.createTopics()
            _ = try await eventually("the broker is found again") {
                try await rig.post([rig.event("after", "delivered", 1)]).status
            } until: {
                $0 == 202
            }
            _ = try await eventually("what readers did meanwhile is reported") {
                try await rig.facts(of: 2).union(rig.facts(of: 4))
            } until: {
                $0 == DeliveryFacts(.opened, .clicked)
            }
            #expect(try await ingester.terminate() == 0)
        }
    }

    @Test func `a broker that froze and goes on is used again`() async throws {
        try await IngesterRig.with("ingester-frozen", ownStack: true) { rig in
            try await rig.start()
            #expect(try await rig.post([rig.event("before", "sent", 1)]).status == 202)
            let file = rig.stack.stateFolder.appending(path: "run/broker.pid")
            let words = try String(contentsOf: file, encoding: .utf8).split(separator: " ")
            let broker = try #require(words.first.flatMap { Int32($0) })
            #expect(kill(broker, SIGSTOP) == 0)
            defer { kill(broker, SIGCONT) }
            #expect(try await rig.post([rig.event("during", "delivered", 1)]).status == 503)
            #expect(try await rig.request("GET", "/o/\(rig.token(.open, 2))").status == 200)
            #expect(kill(broker, SIGCONT) == 0)
            _ = try await eventually("the broker is used again") {
                try await rig.post([rig.event("after", "delivered", 1)]).status
            } until: {
                $0 == 202
            }
            #expect(try await rig.facts(of: 1) == DeliveryFacts(.sent, .delivered))
        }
    }

    @Test func `without a database the picture comes, and known links lead where they led`() async throws {
        try await IngesterRig.with("ingester-no-database") { rig in
            try await rig.start()
            #expect(try await rig.click(rig.token(.click, 1, link: 1)).status == 302)
            _ = try await rig.database.query("REVOKE ALL ON tracking_hit, blast_link, blast FROM rollcall_ingester")
            #expect(try await rig.click(rig.token(.click, 2, link: 2)).status == 302)
            #expect(try await rig.request("GET", "/o/\(rig.token(.open, 1))").status == 200)
            #expect(try await rig.post([rig.event("e", "delivered", 1)]).status == 202)
        }
    }

    @Test func `the picture is the same for every token`() async throws {
        try await IngesterRig.with("ingester-pixel") { rig in
            let ingester = try await rig.start()
            let good = rig.token(.open, 1)
            for path in [
                "/o/\(good)", "/o/\(good).gif", "/o/nonsense", "/o/\(good.dropLast()).gif",
                "/o/\(rig.token(.click, 1))",
            ] {
                let answer = try await rig.request("GET", path)
                #expect(answer.status == 200)
                #expect(Array(answer.body) == TrackingRoutes.transparentGIF)
                #expect(answer.body.count == 43)
                #expect(answer.headers["content-type"] == "image/gif")
                #expect(answer.headers["cache-control"] == "no-store")
                #expect(try await rig.request("HEAD", path).status == 200)
            }
            #expect(try await ingester.terminate() == 0)
            #expect(
                try await rig.number("SELECT count(*) FROM tracking_hit") == 4,
                "what is in the buffer is kept on a stop")
            #expect(try await rig.number("SELECT count(*) FROM tracking_hit WHERE method = 'HEAD'") == 2)
        }
    }

    @Test func `a redirect cannot be bent`() async throws {
        try await IngesterRig.with("ingester-redirect") { rig in
            try await rig.start()
            let token = rig.token(.click, 1, link: 1)
            let evil = "https%3A%2F%2Fevil.example"
            for query in [
                "", "?url=\(evil)", "?u=//evil.example", "?\(evil)", "?next=https:evil.example%0D%0ALocation:%20x",
            ] {
                for method in ["GET", "HEAD"] {
                    let answer = try await rig.click(
                        token + query, ["X-Forwarded-Host": "evil.example", "Referer": "https://evil.example"],
                        method: method)
                    #expect(answer.status == 302)
                    #expect(answer.headers["location"] == IngesterRig.links[0])
                    #expect(answer.headers["set-cookie"] == nil)
                }
            }
            let middle = token.index(token.startIndex, offsetBy: 30)
            let flipped = token.replacingCharacters(in: middle...middle, with: token[middle] == "A" ? "B" : "A")
            let unknown = [
                flipped, String(token.dropLast()), token + "A", "x", rig.token(.open, 1), rig.token(.delivery, 1),
                rig.token(.click, 1, link: 3), rig.token(.click, 1, link: 0), "\(token)/\(evil)",
            ]
            for text in unknown {
                let answer = try await rig.click(text)
                #expect(answer.status == 404, "\(text)")
                #expect(answer.headers["location"] == nil)
            }
            _ = try await rig.database.query(
                "UPDATE blast_link SET url = E'https://a.example/\\r\\nX: y' WHERE link_no = 2")
            try await rig.start("fresh")
            #expect(try await rig.click(rig.token(.click, 1, link: 2)).status == 404)
        }
    }

    @Test func `looking at the unsubscribe page changes nothing, posting it does`() async throws {
        try await IngesterRig.with("ingester-unsubscribe") { rig in
            try await rig.start()
            let form = ["Content-Type": "application/x-www-form-urlencoded"]
            let path = "/u/\(rig.token(.unsubscribe, 1))"
            for method in ["GET", "HEAD"] {
                let page = try await rig.request(method, path)
                #expect(page.status == 200)
                #expect(page.headers["set-cookie"] == nil)
                #expect(page.headers["content-security-policy"]?.contains("script") == false)
            }
            #expect(try await rig.request("GET", path).text.contains("<form method=\"post\">"))
            for body in ["", "List-Unsubscribe=Two-Clicks", "confirm=0", "{}"] {
                #expect(try await rig.request("POST", path, form, body: body).status == 400)
            }
            #expect(
                try await rig.request("POST", path, ["Content-Type": "text/plain"], body: "List-Unsubscribe=One-Click")
                    .status == 400)
            #expect(
                try await rig.request("POST", path, form, body: String(repeating: "x", count: 9000)).status == 413)
            for bad in ["x", rig.token(.open, 1)] {
                #expect(try await rig.request("GET", "/u/\(bad)").status == 404)
                #expect(
                    try await rig.request("POST", "/u/\(bad)", form, body: "List-Unsubscribe=One-Click").status == 404)
            }
            #expect(try await rig.published().isEmpty)
            let multipart =
                "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n"
            let answers = [
                try await rig.request("POST", path, form, body: "List-Unsubscribe=One-Click"),
                try await rig.request(
                    "POST", path, ["Content-Type": "multipart/form-data; boundary=b"], body: multipart),
                try await rig.request("POST", path, form, body: "confirm=1"),
            ]
            for answer in answers {
                #expect(answer.status == 200)
                #expect(answer.headers["location"] == nil)
                #expect(answer.headers["set-cookie"] == nil)
            }
            let published = try await rig.published()
            #expect(published.count == 3)
            #expect(Set(published.map(\.id)) == ["unsubscribe/\(rig.blast)/1"])
            #expect(published.allSatisfy { $0.fact == .optedOut })
        }
    }

    @Test func `opens and clicks are judged once, by whichever of several ingesters`() async throws {
        try await IngesterRig.with("ingester-judge") { rig in
            try await rig.start("a")
            let scanner = ["User-Agent": "Mozilla/5.0 (compatible; LinkScanner/1.0)"]
            for link: Int16 in [1, 2] {
                _ = try await rig.click(rig.token(.click, 1, link: link), scanner)
            }
            _ = try await rig.request("GET", "/o/\(rig.token(.open, 1))", scanner)
            try await rig.start("b")
            _ = try await rig.request("GET", "/o/\(rig.token(.open, 2))")
            _ = try await rig.click(rig.token(.click, 3, link: 1))
            _ = try await rig.click(rig.token(.click, 4, link: 1), method: "HEAD")
            try await waitUntilReported(rig, 6)
            _ = try await rig.request("GET", "/o/\(rig.token(.open, 2))")
            try await waitUntilReported(rig, 7)
            let published = try await rig.published()
            #expect(
                Set(published.map { "\($0.delivery.recipientNumber) \($0.fact.name)" }) == [
                    "1 machine_open", "1 machine_click", "2 opened", "3 clicked", "4 machine_click",
                ])
            #expect(published.count == 5, "repeats are kept but not published")
            #expect(published.allSatisfy { $0.id.hasPrefix("hit/") && $0.id.hasSuffix("/\($0.fact.name)") })
            #expect(published.first { $0.fact == .clicked }?.evidence == "school.example/menu")
            #expect(published.first { $0.fact == .opened }?.evidence == IngesterRig.person)
        }
    }

    private func waitUntilReported(_ rig: IngesterRig, _ count: Int64) async throws {
        _ = try await eventually("\(count) hits are reported") {
            try await rig.number("SELECT count(*) FROM tracking_hit WHERE reported_at IS NOT NULL")
        } until: {
            $0 == count
        }
    }

    @Test func `several ingesters at once say every fact of every delivery once`() async throws {
        try await IngesterRig.with("ingester-crowd") { rig in
            _ = try await rig.database.query(
                """
                INSERT INTO tracking_hit (blast_id, hit_id, recipient_no, district_id, kind, link_no, at, method)
                SELECT blast_id, gen_random_uuid(), n % 300 + 1, 1, CASE WHEN n < 900 THEN 'open' ELSE 'click' END,
                       CASE WHEN n < 900 THEN NULL ELSE 1 END, now() - n * interval '10 ms', 'GET'
                  FROM blast, generate_series(0, 1799) n
                """)
            for name in ["a", "b", "c"] { try await rig.start(name) }
            try await waitUntilReported(rig, 1800)
            let said = try await rig.published().map { "\($0.delivery.recipientNumber) \($0.fact.name)" }
            #expect(said.count == 600)
            #expect(Set(said).count == 600)
        }
    }

    @Test func `a judged hit whose publication was cut short is published by the next process`() async throws {
        try await IngesterRig.with("ingester-republish") { rig in
            _ = try await rig.database.query(
                """
                INSERT INTO tracking_hit (blast_id, hit_id, recipient_no, district_id, kind, at, method, fact)
                SELECT blast_id, gen_random_uuid(), 5, 1, 'open', now(), 'GET', 34 FROM blast
                """)
            try await rig.start()
            _ = try await eventually("it is published") {
                try await rig.facts(of: 5)
            } until: {
                $0 == DeliveryFacts(.opened)
            }
        }
    }

    @Test func `opens that a lost history took away are published again, as the same events, and nothing else`()
        async throws
    {
        try await IngesterRig.with("ingester-history") { rig in
            let first = try await rig.start("first")
            for recipient: Int32 in [1, 2] { _ = try await rig.request("GET", "/o/\(rig.token(.open, recipient))") }
            try await waitUntilReported(rig, 2)
            _ = try await rig.request("GET", "/o/\(rig.token(.open, 2))")
            try await waitUntilReported(rig, 3)
            let lost = try #require(try await rig.published().first { $0.delivery.recipientNumber == 2 })
            // The projector folded the first open only, and then found another broker.
            _ = try await rig.database.query(
                """
                INSERT INTO delivery_status (blast_id, recipient_no, district_id, facts)
                SELECT blast_id, n, 1, CASE n WHEN 1 THEN 1 | (1::bigint << 34) ELSE 1 END
                  FROM blast, generate_series(1, 2) n
                """)
            _ = try await rig.database.query(
                """
                INSERT INTO projector_partition (projection, topic, part, cluster_id, incarnation)
                VALUES ('main', 'rollcall.delivery.events.v1', 0, 'new', 2)
                """)
            let told = try await eventually("published again") {
                try await rig.published().filter { $0.delivery.recipientNumber == 2 }
            } until: {
                $0.count >= 2
            }
            #expect(Set(told) == [lost])
            #expect(try await first.terminate() == 0)

            // Each looks a second time after half a minute, and here nobody folds what it says.
            let said = try await rig.published().count { $0.delivery.recipientNumber == 2 }
            try await rig.start("second")
            _ = try await eventually("a process that starts later looks as well") {
                try await rig.published().count { $0.delivery.recipientNumber == 2 }
            } until: {
                $0 > said
            }
            #expect(try await rig.published().filter { $0.delivery.recipientNumber == 1 }.count == 1)
            #expect(Set(try await rig.published().filter { $0.delivery.recipientNumber == 2 }) == [lost])
        }
    }

    @Test func `hits on an expired document are answered and not kept`() async throws {
        try await IngesterRig.with("ingester-expired") { rig in
            _ = try await rig.database.query(
                "UPDATE blast SET state = 'sent', sending_ended_at = now(), expires_at = now() - interval '1 second'")
            let ingester = try await rig.start()
            #expect(try await rig.request("GET", "/o/\(rig.token(.open, 1))").status == 200)
            #expect(try await rig.click(rig.token(.click, 1, link: 1)).status == 404)
            #expect(try await ingester.terminate() == 0)
            #expect(try await rig.number("SELECT count(*) FROM tracking_hit") == 0)
        }
    }
}
