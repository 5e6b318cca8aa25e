import Foundation
import Postgres
import TestKit
import Testing

@testable import sender

@Suite(.timeLimit(.minutes(5))) struct `A blast of text messages` {
    private static let draft = #"{"channels":["sms"],"text":"Hi {{name}}. {{note}}"}"#

    private static func limits() -> IntakeLimits {
        var limits = IntakeLimits()
        limits.hasSMS = true
        return limits
    }

    private static func numbers(_ json: [String: Any]?) -> [String: Int]? { json?.compactMapValues { $0 as? Int } }

    @Test func `needs neither subject nor sender, and says how its texts are divided and what cannot be sent (C-08)`()
        async throws
    {
        try await IntakeRig.run(limits: Self.limits()) { rig in
            let made = try await rig.request("POST", "/v1/blasts", Self.draft)
            try #require(made.status == 201, "\(made.text)")
            #expect(try made.json()["from"] == nil && made.json()["subject"] as? String == "Hi")
            #expect(try made.json()["title"] as? String == "Text Message Blast :: Hi")
            let blast = try #require(try made.json()["blast_id"] as? String)
            let list = """
                phone,name,note
                +15550320101,Ann,
                +1 (555) 032-0102,Zoë,
                +15550320103,Bob,\(String(repeating: "x", count: 200))
                ,Cy,
                5550320104,Di,
                +15550320105,Eve,\(String(repeating: "y", count: 1700))

                """
            let uploaded = try await rig.upload(blast, list).json()
            #expect(uploaded["audience"] as? Int == 6)
            #expect(uploaded["invalid"] as? Int == 1 && uploaded["no_address"] as? Int == 1)
            let previews = "/v1/blasts/\(blast)/preview"
            let first = try await rig.request("GET", "\(previews)/1").json()
            #expect(first["to"] as? String == "+15550320101" && first["text"] as? String == "Hi Ann. ")
            let expected: [(Int, String, Int, Int)] = [(1, "GSM-7", 8, 1), (2, "UCS-2", 8, 1), (3, "GSM-7", 208, 2)]
            for (number, encoding, units, segments) in expected {
                let sms = try await rig.request("GET", "\(previews)/\(number)").json()["sms"] as? [String: Any]
                #expect(sms?["encoding"] as? String == encoding)
                #expect(Self.numbers(sms) == ["units": units, "segments": segments])
            }
            for number in 4...6 { #expect(try await rig.request("GET", "\(previews)/\(number)").json()["sms"] == nil) }
            let summary = try await rig.request("GET", "/v1/blasts/\(blast)/summary").json()
            #expect(
                Self.numbers(summary["sms"] as? [String: Any])
                    == ["recipients": 4, "segments": 4, "over_one_segment": 1, "ucs2": 1, "unsendable": 1])
            let warnings = try #require(summary["warnings"] as? [[String: Any]])
            #expect(warnings.compactMap { $0["kind"] as? String } == ["text-too-long"])
            _ = try await rig.request("POST", "/v1/blasts/\(blast)/test", #"{"to":"me@x.example"}"#)
                .problem(409, "no-mail")
            try await Self.tests(rig, blast)
            #expect(
                try await rig.request("POST", "/v1/blasts/\(blast)/send", headers: ["Idempotency-Key": "k"]).status
                    == 202)
        }
    }

    /// A test of one with these recipients.
    private static func tests(_ rig: IntakeRig, _ blast: String) async throws {
        let path = "/v1/blasts/\(blast)/test"
        let tested = try await rig.request("POST", path, #"{"to":"+1 (555) 032-9901","recipient_no":2}"#)
        #expect(tested.status == 200, "\(tested.text)")
        for (to, recipient, status, kind) in [
            ("+1555", 2, 422, "invalid-members"), ("+1 555 call me", 2, 422, "invalid-members"),
            ("+15550329901", 9, 404, "no-such-recipient"), ("+15550329901", 6, 422, "message-unusable"),
        ] {
            let body = #"{"to":"\#(to)","recipient_no":\#(recipient)}"#
            _ = try await rig.request("POST", path, body).problem(status, kind)
        }
        let mail = try await rig.blast()
        #expect(try await rig.upload(mail, "email,name,bus\na@x.example,A,1\n").status == 200)
        _ = try await rig.request("POST", "/v1/blasts/\(mail)/test", #"{"to":"+15550329901"}"#)
            .problem(409, "no-text-message")
        #expect(rig.outbox.messages.map(\.recipient) == ["+15550329901"])
        #expect(rig.outbox.messages.map(\.text) == ["[Test] Hi Zoë. "])
    }

    @Test func `is counted once for all when all read the same, with links as long as they will be`() async throws {
        try await IntakeRig.run(limits: Self.limits()) { rig in
            let text = String(repeating: "z", count: 100)
            let blast = try await rig.blast(
                #"{"channels":["sms","email"],"subject":"s","from":{"address":"o@d.example"},"text":"\#(text) {{acknowledge_url}}"}"#
            )
            var list = "phone,email\n"
            for number in 10...59 { list += "+155503201\(number),p\(number)@x.example\n" }
            #expect(try await rig.upload(blast, list).status == 200)
            let preview = try await rig.request("GET", "/v1/blasts/\(blast)/preview/2").json()
            #expect((preview["text"] as? String)?.hasSuffix("https://t.example/a/preview") == true)
            #expect((preview["text"] as? String)?.utf8.count ?? 160 < 160)
            #expect((preview["sms"] as? [String: Any])?["segments"] as? Int == 2)
            #expect(try await rig.request("GET", "/v1/blasts/\(blast)/preview/1").json()["sms"] == nil)
            let summary = try await rig.request("GET", "/v1/blasts/\(blast)/summary").json()
            #expect(
                Self.numbers(summary["sms"] as? [String: Any])
                    == ["recipients": 50, "segments": 100, "over_one_segment": 50, "ucs2": 0, "unsendable": 0])
            let mail = try await rig.blast()
            #expect(try await rig.request("GET", "/v1/blasts/\(mail)/summary").json()["sms"] == nil)
        }
    }

    @Test func `is refused where no provider is set: as a draft, and as an order of an earlier draft`() async throws {
        try await IntakeRig.run { rig in
            let refused = try await rig.request("POST", "/v1/blasts", Self.draft).problem(422, "invalid-members")
            #expect(refused["field"] as? String == "channels")
            #expect((refused["detail"] as? String)?.contains("sms.account") == true)
            let blast = try await rig.blast()
            #expect(try await rig.upload(blast, "email,name,bus\na@x.example,A,1\n").status == 200)
            _ = try await rig.owner.query("UPDATE blast SET channels = '{sms}'")
            _ = try await rig.request("POST", "/v1/blasts/\(blast)/test", #"{"to":"+15550329901"}"#)
                .problem(409, "no-sms-provider")
            let before = try await rig.snapshot()
            let problem = try await rig.request(
                "POST", "/v1/blasts/\(blast)/send", headers: ["Idempotency-Key": "k"]
            ).problem(409, "no-sms-provider")
            #expect((problem["detail"] as? String)?.contains("sms.account") == true)
            #expect(try await rig.snapshot() == before)
        }
    }
}
