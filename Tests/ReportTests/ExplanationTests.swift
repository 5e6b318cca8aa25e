import Delivery
import Foundation
import Mail
import Postgres
import TestKit
import Testing

@testable import report_api

extension ReportRig {
    /// One record of recipient 1, as a service reported it.
    func record(_ blast: BlastID, _ seq: Int64, _ fact: DeliveryFact, source: String, _ evidence: String) async throws {
        _ = try await owner.query(
            """
            WITH s AS (
                UPDATE delivery_status SET facts = facts | (1::bigint << $3::int), part = 0, last_seq = $2
                 WHERE blast_id = $1 AND recipient_no = 1 RETURNING facts
            )
            INSERT INTO delivery_log (blast_id, part, seq, prev_seq, recipient_no, district_id, incarnation, event_id,
                                      source, fact, facts, attempts, changed_at, occurred_at, recorded_at, evidence)
            SELECT $1, 0, $2, nullif($2 - 1, 0), 1, 1, 1, 'event ' || $2, $4, $3, facts, 1, t, t, t, $5
              FROM s, LATERAL (SELECT '2026-11-20T15:30:00Z'::timestamptz + $2 * interval '1 minute' AS t) x
            """,
            [
                .uuid(high: blast.high, low: blast.low), .int(seq), .int4(Int32(fact.rawValue)),
                .text("/rollcall/\(source)"), .text(evidence),
            ])
    }

    func explanation(_ blast: BlastID, _ query: String = "") async throws -> [String: Any] {
        let json = try await get("/v1/blasts/\(blast)/recipients/1\(query)").json()
        return try #require(json["explanation"] as? [String: Any], "\(json)")
    }
}

@Suite struct `Why this status` {
    @Test func `every status-bearing fact has who said it, what it means and when`() async throws {
        let sources: [(DeliveryFact, source: String, witness: String)] = [
            (.validating, "sender", "list"), (.deferred, "sender", "outgoing_server"),
            (.noAddress, "blacklist-guard", "guard"), (.consentDenied, "blacklist-guard", "guard"),
            (.notSelected, "blacklist-guard", "guard"), (.skipped, "blacklist-guard", "guard"),
            (.duplicate, "sender", "sender"), (.blockedBounce, "blacklist-guard", "guard"),
            (.blockedComplaint, "blacklist-guard", "guard"), (.blockedInvalid, "sender", "sender"),
            (.invalid, "blacklist-guard", "guard"), (.cancelled, "sender", "sender"), (.inDoubt, "sender", "sender"),
            (.unknown, "sender", "sender"), (.sent, "sender", "outgoing_server"),
            (.delayed, "event-ingester", "receiving_server"), (.notSent, "sender", "outgoing_server"),
            (.expired, "sender", "sender"), (.bounced, "sender", "outgoing_server"),
            (.bouncedInvalid, "event-ingester", "receiving_server"), (.delivered, "event-ingester", "receiving_server"),
            (.opened, "event-ingester", "family"), (.clicked, "event-ingester", "family"),
            (.acknowledged, "event-ingester", "family"), (.responded, "event-ingester", "family"),
            (.optedOut, "event-ingester", "family"), (.complained, "event-ingester", "family"),
        ]
        #expect(Set(sources.map(\.0)).union([.pending]) == Set(DeliveryFacts.canonicalMask.facts), "none is left out")
        try await ReportRig.run { rig in
            let pending = try await rig.explanation(try await rig.blast([.init(facts: .initial)]))
            #expect((pending["decided_by"] as? [String: Any])?["witness"] as? String == "list")
            for (fact, source, witness) in sources {
                let blast = try await rig.blast([.init(facts: .initial)])
                try await rig.record(blast, 1, fact, source: source, "words of \(fact.name)")
                let why = try await rig.explanation(blast)
                let decided = try #require(why["decided_by"] as? [String: Any])
                #expect(decided["fact"] as? String == fact.name)
                #expect(decided["witness"] as? String == witness, "\(fact)")
                #expect(decided["at"] as? String == "2026-11-20T15:31:00.000000Z")
                #expect(decided["said"] as? String == "words of \(fact.name)")
                #expect(decided["event_id"] as? String == "event 1")
                #expect((decided["said_by"] as? String)?.isEmpty == false)
                #expect(why["meaning"] as? String == fact.plainWords.meaning)
                let trouble = [.problem].contains(fact.plainWords.tone) && fact != .notSent
                if trouble { #expect(why["advice"] is String, "I-26: \(fact) says what to do") }
            }
        }
    }

    @Test func `S-18 a bounce quotes the server, says whose it is and what its code means`() async throws {
        try await ReportRig.run { rig in
            let blast = try await rig.blast([.init(address: "pat@mail.example", facts: .initial)])
            try await rig.record(blast, 1, .sent, source: "sender", "250 2.0.0 queued")
            try await rig.record(
                blast, 2, .bouncedInvalid, source: "event-ingester", "550 5.1.1 No such user <b>here</b>")
            let why = try await rig.explanation(blast)
            let decided = try #require(why["decided_by"] as? [String: Any])
            #expect(decided["smtp_code"] as? Int == 550 && decided["enhanced_code"] as? String == "5.1.1")
            #expect(decided["said_by"] as? String == "the mail server of mail.example, as the mail service reported")
            #expect(why["code_meaning"] as? String == "There is no mailbox of this name.")
            #expect((why["advice"] as? String)?.hasPrefix("Check the spelling") == true, "I-29")
            let cookie = try await rig.session(key: rig.readKey)
            let page = try await rig.page("/blasts/\(blast)/recipients/1", cookie: cookie).text
            for text in [
                "Who said so: <bdi>the mail server of mail.example, as the mail service reported</bdi>",
                "Nov 20, 2026 9:32:00 am", "550 5.1.1 No such user &lt;b&gt;here&lt;/b&gt;",
                "That means: There is no mailbox of this name.", "What you can do:</strong> Check the spelling",
            ] {
                #expect(page.contains(text), "\(text)")
            }
            let tool = try await Command.run(
                ProjectFolder.program("rollcall"),
                ["why", "--url", "http://127.0.0.1:\(rig.port)", blast.description, "PAT@mail.example"],
                environment: ["ROLLCALL_API_KEY": rig.readKey])
            #expect(tool.status == 0, "\(tool.output)")
            for text in [
                "Bounced invalid: There is no such mailbox", "who said so: the mail server of mail.example",
                "at 2026-11-20T15:32:00.000000Z", "in their words: 550 5.1.1 No such user", "that means: There is no",
                "what to do: Check the spelling",
            ] {
                #expect(tool.output.contains(text), "\(text) in \(tool.output)")
            }
            let nobody = try await Command.run(
                ProjectFolder.program("rollcall"),
                ["why", "--url", "http://127.0.0.1:\(rig.port)", blast.description, "no@mail.example"],
                environment: ["ROLLCALL_API_KEY": rig.readKey])
            #expect(nobody.status == 1 && nobody.output.contains("nobody in this blast has the address"))
        }
    }

    @Test func `the reason of our own check and the original of a duplicate are given`() async throws {
        try await ReportRig.run { rig in
            let blast = try await rig.blast([.init(facts: .initial), .init(facts: .initial)])
            try await rig.record(blast, 1, .duplicate, source: "blacklist-guard", "old words")
            _ = try await rig.owner.query(
                """
                INSERT INTO decision (blast_id, recipient_no, district_id, chunk_no, fact, rule, detail, original_blast_id,
                                      original_recipient_no)
                VALUES ($1, 1, 1, 1, 10, 'duplicate_address', '550 of them: same as recipient 2.', $1, 2)
                """, [.uuid(high: blast.high, low: blast.low)])
            let why = try await rig.explanation(blast)
            let decided = try #require(why["decided_by"] as? [String: Any])
            #expect(decided["said"] as? String == "550 of them: same as recipient 2.")
            #expect(decided["smtp_code"] == nil, "our own words are no server's code")
            let cookie = try await rig.session(key: rig.readKey)
            let page = try await rig.page("/blasts/\(blast)/recipients/1", cookie: cookie).text
            #expect(page.contains("href=\"/blasts/\(blast)/recipients/2\""))
        }
    }

    @Test func `what decides is what shows: late bounces, programs and news without a word`() async throws {
        try await ReportRig.run { rig in
            let late = try await rig.blast([.init(facts: .initial)])
            try await rig.record(late, 1, .delivered, source: "event-ingester", "250 2.0.0 ok")
            try await rig.record(late, 2, .bounced, source: "event-ingester", "552 5.2.2 over quota")
            for (query, fact) in [("?late_bounce=frozen", "delivered"), ("?late_bounce=shown", "bounced")] {
                let why = try await rig.explanation(late, query)
                #expect((why["decided_by"] as? [String: Any])?["fact"] as? String == fact)
                let bounce = try #require(why["late_bounce"] as? [String: Any])
                #expect(bounce["enhanced_code"] as? String == "5.2.2" && bounce["at"] is String)
                #expect((why["notes"] as? [String])?.first?.contains("returned the message later") == true)
                #expect((why["code_meaning"] as? String == "The mailbox is full.") == (fact == "bounced"))
            }
            let program = try await rig.blast([.init(facts: .initial)])
            try await rig.record(program, 1, .machineOpen, source: "event-ingester", "")
            let counted = try await rig.explanation(program, "?opens=all")
            #expect(counted["status"] as? String == "Opened")
            #expect((counted["decided_by"] as? [String: Any])?["witness"] as? String == "program")
            let human = try await rig.explanation(program, "?opens=human")
            #expect(human["status"] as? String == "Pending" && (human["notes"] as? [String])?.count == 1)
            let left = try await rig.blast([.init(facts: .initial)])
            try await rig.record(left, 1, .delivered, source: "event-ingester", "")
            try await rig.record(left, 2, .optedOut, source: "event-ingester", "")
            let why = try await rig.explanation(left, "?vocabulary=iclasspro")
            #expect(why["status"] as? String == "Delivery")
            #expect(why["notes"] as? [String] == ["Besides: The recipient unsubscribed."])
            _ = try await rig.owner.query("UPDATE blast SET created_at = '2026-11-20T15:00:00Z'")
            let before = try await rig.explanation(left, "?vocabulary=iclasspro&as_of=2026-11-20T15:31:30Z")
            #expect(before["status"] as? String == "Delivery" && (before["notes"] as? [String])?.isEmpty == true)
        }
    }
}

@Suite struct `Codes of mail servers` {
    @Test(arguments: [
        ("5.1.1", "There is no mailbox of this name."), ("5.2.2", "The mailbox is full."),
        ("4.2.2", "The mailbox is full. The server says that this may pass."),
        ("5.1.10", "The name after the @ belongs to somebody who receives no mail at all."),
        ("5.2.99", "Something is wrong with the mailbox."),
        ("5.7.999", "A rule of the receiving mail system forbids the message."),
        ("5.0.0", "The server will not take this message, and gives no reason we know."),
        ("5.9.9", "The server will not take this message, and gives no reason we know."),
        ("4.9.9", "The server could not take the message for now."), ("2.1.5", "The server agreed."),
    ]) func `a code has its sentence, else that of its subject, else that of its class`(code: String, meaning: String)
        throws
    {
        #expect(CodeWords(try #require(EnhancedStatusCode(code))).meaning == meaning)
    }

    @Test func `no sentence needs to know what a protocol is`() {
        let codes = CodeWords.known + (0...9).flatMap { subject in [0, 99].map { (subject, $0) } }
        #expect(CodeWords.known.count > 40)
        for status in [2, 4, 5] {
            for (subject, detail) in codes {
                let words = CodeWords(EnhancedStatusCode(status, subject, detail))
                for text in [words.meaning, words.advice].compactMap(\.self) {
                    #expect(text.hasSuffix(".") && text.first?.isUppercase == true, "\(text)")
                    #expect(text.firstMatch(of: /\d|SMTP|MTA|DNS|DKIM|SPF|TLS|null/) == nil, "\(text)")
                }
            }
        }
        for code in 200...599 { #expect(CodeWords(smtp: code).meaning.hasSuffix(".")) }
    }

    @Test(
        arguments: [
            ("550 5.1.1 User unknown", 550, "5.1.1"), ("550-5.1.1 The email account", 550, "5.1.1"),
            ("452 try later", 452, nil), ("5.7.1 refused", nil, "5.7.1"), ("421", 421, nil), ("550: no", 550, nil),
        ] as [(String, Int?, String?)]) func `codes are read from the beginning of a reply`(
            text: String, smtp: Int?, enhanced: String?
        ) throws
    {
        let code = try #require(ReportedCode(text))
        #expect(code.smtp == smtp && code.enhanced?.description == enhanced)
    }

    @Test(arguments: ["", "User 550 unknown", "5501 x", "05.1.1", "999 x", "Opted out on 2026-01-01.", "199 a"])
    func `what does not begin with a code has none`(text: String) { #expect(ReportedCode(text) == nil) }
}
