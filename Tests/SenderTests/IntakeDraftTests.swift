import Foundation
import Postgres
import Signing
import TestKit
import Testing

@testable import sender

@Suite(.timeLimit(.minutes(5))) struct `A draft can be looked at before it is sent` {
    static let draft = """
        {"subject":"Trip for {{child}}","html":"<p>Hi {{name}}</p><a href=\\"https://x.example/a\\">plan</a>\
        <a href=\\"{{unsubscribe_url}}\\">no more</a><a href=\\"{{respond_url}}\\">answer</a>",
         "text":"Hi {{name}}: {{acknowledge_url}}","answers":["Coming","Not coming"],"category":"trips",
         "from":{"address":"office@district.example","name":"North Office"}}
        """
    static let list = """
        email,name,child,student_ref,consent.trips,categories
        a@x.example,Ann <3,Zoë,s1,,
        a@x.example,Ann,Tom,s2,yes,
        b@x.example,Bob,,s3,no,
        c@x.example,Cy,Al,s4,,news
        d@x.example,Di,Bo,s5,,trips;news
        bad@,Ed,Cy,s6,,
        ,Flo,Di,s7,,
        e@x.example,Gus,Ed,s8,,

        """

    private static func ready(_ rig: IntakeRig, _ draft: String = Self.draft) async throws -> String {
        let blast = try await rig.blast(draft)
        let answer = try await rig.upload(blast, list)
        try #require(answer.status == 200, "\(answer.text)")
        return blast
    }

    @Test func `any recipient's message can be previewed, with links that change nothing`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await Self.ready(rig)
            let before = try await rig.snapshot()
            let path = "/v1/blasts/\(blast)/preview"
            let first = try await rig.request("GET", "\(path)/1", key: rig.readKey).json()
            #expect(first["to"] as? String == "a@x.example")
            #expect(first["subject"] as? String == "Trip for Zoë")
            #expect(first["text"] as? String == "Hi Ann <3: https://t.example/a/preview")
            #expect(
                first["html"] as? String
                    == "<p>Hi Ann &lt;3</p><a href=\"https://x.example/a\">plan</a>"
                    + "<a href=\"https://t.example/u/preview\">no more</a><a href=\"https://t.example/r/preview\">answer</a>"
            )
            #expect(first["fault"] == nil)
            #expect(try await rig.request("GET", "\(path)/7").json()["fault"] as? String != nil)
            let message = try await rig.request("GET", "\(path)/2", headers: ["Accept": "message/rfc822"])
            #expect(message.headers["content-type"] == "message/rfc822")
            #expect(message.text.contains("To: Ann <a@x.example>\r\n"))
            #expect(message.text.contains("multipart/alternative"))
            for unwanted in ["/o/", "/c/", "List-Unsubscribe", "X-Rollcall-Delivery"] {
                #expect(!message.text.contains(unwanted))
            }
            for number in ["0", "9", "x", "-1", "99999999999"] {
                _ = try await rig.request("GET", "\(path)/\(number)").problem(404, "no-such-recipient")
            }
            _ = try await rig.request("GET", "\(path)/1", key: rig.foreignKey).problem(404, "no-such-blast")
            #expect(try await rig.snapshot() == before)
        }
    }

    @Test func `a test goes to the stated address, marked, and is nobody's delivery`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await Self.ready(rig)
            let before = try await rig.snapshot()
            let path = "/v1/blasts/\(blast)/test"
            let answer = try await rig.request("POST", path, #"{"to":"me@district.example","recipient_no":2}"#)
            #expect(answer.status == 200, "\(answer.text)")
            let sent = try #require(rig.outbox.messages.first)
            #expect(sent.recipient == "me@district.example")
            #expect(sent.sender == "test@bounce.example")
            #expect(sent.text.contains("Subject: [Test] Trip for Tom\r\n"))
            #expect(sent.text.contains("X-Rollcall-Test: \(blast)\r\n"))
            #expect(!sent.text.contains("X-Rollcall-Delivery"))
            #expect(!sent.text.contains("a@x.example"))
            #expect(try await rig.snapshot() == before)
            for body in [
                #"{}"#, #"{"to":"me"}"#, #"{"to":"a@b.example","recipient_no":0}"#, #"{"to":"a@b.example","x":1}"#,
            ] {
                _ = try await rig.request("POST", path, body).problem(422, "invalid-members")
            }
            _ = try await rig.request("POST", path, #"{"to":"a@b.example","recipient_no":9}"#)
                .problem(404, "no-such-recipient")
            _ = try await rig.request("POST", path, #"{"to":"a@b.example"}"#, key: rig.readKey).problem(
                403, "forbidden")
            #expect(rig.outbox.messages.count == 1)
            for _ in 2...Int(TestMessage.perHour) {
                #expect(try await rig.request("POST", path, #"{"to":"me@district.example"}"#).status == 200)
            }
            _ = try await rig.request("POST", path, #"{"to":"me@district.example"}"#).problem(429, "too-many-tests")
            #expect(rig.outbox.messages.count == Int(TestMessage.perHour))
        }
    }

    /// What the guard has learned in the past.
    private static func learn(_ rig: IntakeRig, _ blast: String) async throws {
        _ = try await rig.owner.query(
            """
            INSERT INTO blacklist (district_id, address_hash, address, reason, first_seen, last_seen)
            SELECT 1, address_hash, address, 'bounce', '2026-01-02T03:00Z', '2026-01-02T03:00Z' FROM recipient
             WHERE blast_id = $1::text::uuid AND recipient_no = 8
            """, [.text(blast)])
    }

    @Test func `a dry run gives every check's answer for every recipient and sends nothing`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await Self.ready(rig)
            try await Self.learn(rig, blast)
            _ = try await rig.owner.query("UPDATE district SET time_zone = 'America/Chicago' WHERE district_id = 1")
            let before = try await rig.snapshot()
            let answer = try await rig.request("GET", "/v1/blasts/\(blast)/dry-run", key: rig.readKey)
            #expect(answer.headers["content-type"] == "application/x-ndjson")
            let lines = try answer.text.split(separator: "\n").map { line in
                try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            }
            #expect(
                lines.compactMap { $0["decision"] as? String } == [
                    "send", "duplicate", "consent_denied", "not_selected", "send", "invalid", "no_address",
                    "blocked_bounce",
                ])
            #expect(lines[1]["original"] as? String == "\(blast)/1")
            #expect((lines[7]["reason"] as? String)?.contains("last on Jan 1, 2026.") == true)
            #expect(lines[2]["empty_fields"] as? [String] == ["child"])
            let checks = try #require(lines[7]["checks"] as? [String: String])
            #expect(checks["blacklist"] == "blacklist_bounce")
            #expect(checks["consent"] == "ok")
            #expect(try await rig.snapshot() == before)
            let summary = try await rig.request("GET", "/v1/blasts/\(blast)/summary").json()
            #expect(
                summary["decisions"] as? [String: Int] == [
                    "send": 2, "duplicate": 1, "consent_denied": 1, "not_selected": 1, "invalid": 1, "no_address": 1,
                    "blocked_bounce": 1,
                ])
            _ = try await rig.request("GET", "/v1/blasts/\(blast)/dry-run", key: rig.foreignKey)
                .problem(404, "no-such-blast")
        }
    }

    @Test func `a dry run finds who had the same content within four hours (I-14)`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await Self.ready(rig)
            let read = try await rig.request("GET", "/v1/blasts/\(blast)").json()
            let rendered = try MessageTemplate(
                subject: read["subject"] as? String ?? "", html: read["html"] as? String, text: read["text"] as? String
            ).render(["name": "Di", "child": "Bo"])
            let hash = ContentHash.of(subject: rendered.subject, text: rendered.text, html: rendered.html)
            _ = try await rig.owner.query(
                """
                INSERT INTO content_claim (district_id, address_hash, content_hash, blast_id, recipient_no, at)
                SELECT 1, address_hash, $2, mint_blast_id(), 1, clock_timestamp() - interval '3 hours'
                  FROM recipient WHERE blast_id = $1::text::uuid AND recipient_no = 5
                """, [.text(blast), .bytes(hash)])
            let answer = try await rig.request("GET", "/v1/blasts/\(blast)/dry-run")
            let fifth = try #require(answer.text.split(separator: "\n").dropFirst(4).first)
            #expect(fifth.contains(#""decision":"duplicate""#))
            #expect(fifth.contains(/to this address at [A-Z][a-z][a-z] \d+, \d{4} \d+:\d\d [ap]m \(UTC\)\./))
            #expect(fifth.contains(#""duplicate_content":"duplicate""#))
            _ = try await rig.owner.query("UPDATE content_claim SET at = at - interval '2 hours'")
            let later = try await rig.request("GET", "/v1/blasts/\(blast)/dry-run")
            #expect(later.text.split(separator: "\n").dropFirst(4).first?.contains(#""decision":"send""#) == true)
        }
    }

    @Test func `nothing of an expired blast can be read here either (I-22)`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await Self.ready(rig)
            _ = try await rig.owner.query("UPDATE blast SET expires_at = clock_timestamp() - interval '1 second'")
            for path in ["", "/preview/1", "/summary", "/attachments", "/dry-run"] {
                _ = try await rig.request("GET", "/v1/blasts/\(blast)\(path)").problem(404, "no-such-blast")
            }
        }
    }

    @Test(arguments: [("address", 1), ("address+person", 0), ("address+content", 0)])
    func `the blast's dedupe key says which second message is one too many (K-03)`(key: String, left: Int) async throws
    {
        try await IntakeRig.run { rig in
            let draft = Self.draft.replacing("\"category\"", with: "\"dedupe_key\":\"\(key)\",\"category\"")
            let blast = try await Self.ready(rig, draft)
            let summary = try await rig.request("GET", "/v1/blasts/\(blast)/summary").json()
            #expect(summary["dedupe_key"] as? String == key)
            #expect((summary["decisions"] as? [String: Int])?["duplicate"] ?? 0 == left)
            #expect(try await rig.request("GET", "/v1/blasts/\(blast)").json()["dedupe_key"] as? String == key)
        }
    }

    @Test func `with address+content a dry run compares what the recipients of one address would read (K-03)`()
        async throws
    {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast(
                #"{"subject":"Hi {{name}}","text":"t","dedupe_key":"address+content","from":{"address":"o@d.example"}}"#
            )
            let list =
                "email,name,consent\na@x.example,Ann,no\na@x.example,Ann,\na@x.example,Bob,\nA@X.example,Ann,\nb@x.example,Ann,\n"
            #expect(try await rig.upload(blast, list).status == 200)
            let answer = try await rig.request("GET", "/v1/blasts/\(blast)/dry-run")
            let lines = try answer.text.split(separator: "\n").map { line in
                try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            }
            #expect(
                lines.compactMap { $0["decision"] as? String } == [
                    "consent_denied", "send", "send", "duplicate", "send",
                ])
            #expect(lines[3]["original"] as? String == "\(blast)/2")
        }
    }

    @Test func `the summary warns when From differs from the last blasts' (S-17)`() async throws {
        try await IntakeRig.run { rig in
            func kinds(_ blast: String) async throws -> [String] {
                let summary = try await rig.request("GET", "/v1/blasts/\(blast)/summary").json()
                return (summary["warnings"] as? [[String: Any]])?.compactMap { $0["kind"] as? String } ?? []
            }
            let first = try await Self.ready(rig)
            #expect(try await kinds(first) == [])
            #expect(
                try await rig.request("POST", "/v1/blasts/\(first)/send", headers: ["Idempotency-Key": "1"]).status
                    == 202)
            #expect(try await kinds(try await Self.ready(rig)) == [])
            let other = try await Self.ready(rig, Self.draft.replacing("office@", with: "other@"))
            #expect(try await kinds(other) == ["from-differs"])
            let bare = try await rig.blast(
                #"{"subject":"s","text":"t","from":{"address":"office@district.example"}}"#)
            #expect(try await kinds(bare) == ["no-sender-name", "no-unsubscribe-link"])
        }
    }

    @Test func `attachments are stored by name, bounded, and part of the message`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await Self.ready(rig)
            let path = "/v1/blasts/\(blast)/attachments"
            func put(_ name: String, _ octets: Int, type: String = "application/pdf") async throws -> HTTP.Answer {
                try await rig.request(
                    "PUT", "\(path)/\(name)", data: Data(repeating: 0x41, count: octets), type: type)
            }
            #expect(try await put("plan.pdf", 100).status == 200)
            #expect(try await put("%C3%9Cbersicht.pdf", 70).status == 200)
            #expect(try await put("plan.pdf", 200).status == 200)
            let message = try await rig.request(
                "GET", "/v1/blasts/\(blast)/preview/1", headers: ["Accept": "message/rfc822"]
            ).text
            #expect(message.contains("multipart/mixed"))
            #expect(message.contains("Content-Disposition: attachment;\r\n filename=\"plan.pdf\"\r\n"))
            #expect(message.contains("filename*=UTF-8''%C3%9Cbersicht.pdf"))
            #expect(
                try await rig.request("GET", "/v1/blasts/\(blast)/preview/1").json()["attachments"] as? [String]
                    == ["plan.pdf", "Übersicht.pdf"])
            for name in ["..", "a%2Fb", "%00", "x%0Ay", ".x", String(repeating: "n", count: 201)] where name != ".." {
                _ = try await put(name, 10).problem(422, "invalid-attachment")
            }
            _ = try await put("x", 10, type: "multipart/mixed").problem(422, "invalid-attachment")
            _ = try await put("x", 10, type: "pdf").problem(422, "invalid-attachment")
            _ = try await put("big", Attachments.octetsMax).problem(413, "too-large")
            #expect(try await rig.request("DELETE", "\(path)/plan.pdf").status == 204)
            #expect(try await rig.count("blast_attachment", blast) == 1)
            _ = try await rig.request("POST", "/v1/blasts/\(blast)/send", headers: ["Idempotency-Key": "k"])
            _ = try await put("late.pdf", 1).problem(409, "not-a-draft")
        }
    }

    @Test(arguments: [
        (#"{"subject":"{{unsubscribe_url}}","text":"t"}"#, "subject"),
        (#"{"subject":"s","text":"{{respond_url}}"}"#, "answers"),
        (#"{"subject":"s","text":"t","answers":["Yes"]}"#, "answers"),
        (#"{"subject":"s","text":"{{respond_url}}","answers":["Yes","Yes"]}"#, "answers[1]"),
        (#"{"subject":"s","text":"{{respond_url}}","answers":[""]}"#, "answers[0]"),
        (#"{"subject":"s","text":"{{respond_url}}","answers":"Yes"}"#, "answers"),
    ]) func `answers and personal links have to fit together`(json: String, field: String) async throws {
        try await IntakeRig.run { rig in
            let whole = json.dropLast() + #","from":{"address":"o@d.example"}}"#
            let problem = try await rig.request("POST", "/v1/blasts", String(whole)).problem(422, "invalid-members")
            #expect(problem["field"] as? String == field)
        }
    }
}
