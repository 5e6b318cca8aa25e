import Delivery
import Foundation
import Postgres
import TestKit
import Testing

@testable import report_api

@Suite struct `The report pages` {
    /// Texts that would become markup, an attribute or a script if one place forgot to escape.
    private static let hostile = [
        "<script>alert(1)</script>", "\" autofocus onfocus=alert(1) x=\"", "'><img src=x onerror=alert(1)>",
        // A quotation mark and a combining accent are one Character.
        "\"\u{301} onmouseover=alert(1) x=\"\u{301}", "<\u{338}b>", "{{subject}}", "&lt;b&gt;", "</title><b>",
    ]

    private static func expectInert(_ html: String, _ sourceLocation: SourceLocation = #_sourceLocation) {
        for octets in ["<script>", "<img", "<b>", "onfocus=alert(1) x=\"", "\"\u{301}"] {
            #expect(
                Data(html.utf8).range(of: Data(octets.utf8)) == nil, "\(octets) in the page",
                sourceLocation: sourceLocation)
        }
    }

    @Test func `hostile texts stay texts on every page`() async throws {
        try await ReportRig.run { rig in
            let cookie = try await rig.session(key: rig.adminKey)
            for text in Self.hostile {
                let blast = try await rig.blast(
                    [.init(name: text, address: text, facts: .initial)], subject: text)
                try await rig.history(blast, 1, [.sent, .bounced], firstSeq: 1)
                _ = try await rig.owner.query(
                    """
                    INSERT INTO blacklist (district_id, address_hash, address, reason, first_seen, last_seen)
                    VALUES (1, $1, $2, 'bounce', now(), now())
                    """, [.bytes(Array(text.utf8)), .text(text)])
                let query = "q=" + FormFields.escape(text)
                let escaped = MarkupContent().escapeText(text)
                for path in [
                    "/", "/blasts/\(blast)", "/blasts/\(blast)?\(query)", "/blasts/\(blast)/live",
                    "/blasts/\(blast)/recipients/1", "/blacklist", "/blacklist?\(query)",
                ] {
                    let page = try await rig.page(path, cookie: cookie)
                    #expect(page.status == 200, "\(path)")
                    Self.expectInert(page.text)
                    #expect(Data(page.body).range(of: Data(escaped.utf8)) != nil, "\(path) shows \(text)")
                    let policy = try #require(page.headers["content-security-policy"])
                    #expect(policy.contains("default-src 'none'") && !policy.contains("unsafe"))
                    #expect(page.headers["cache-control"] == "no-store")
                    #expect(page.headers["x-content-type-options"] == "nosniff")
                    #expect(page.headers["referrer-policy"] == "same-origin")
                    #expect(!page.text.contains("style=") && !page.text.contains("<style"))
                }
            }
            let signIn = try await HTTP.request(
                "GET", "http://127.0.0.1:\(rig.port)/sign-in?next=/%22%3E%3Cscript%3E", headers: [:])
            Self.expectInert(signIn.text)
        }
    }

    @Test func `nobody gets in without a session, and a made-up one is none`() async throws {
        try await ReportRig.run { rig in
            let blast = try await rig.blast([.init(facts: .initial)])
            let good = try await rig.session(key: rig.readKey)
            let parts = good.split(separator: ".")
            let later = "\(parts[0]).9999999999.\(parts[2])"
            let path = "/blasts/\(blast)"
            #expect(try await rig.page(path, cookie: good).status == 200)
            for cookie in ["", "rollcall_session=", later, String(good.dropLast(2))] {
                let answer = try await rig.page(path, cookie: cookie)
                #expect(answer.status == 303)
                #expect(answer.headers["location"] == "/sign-in?next=" + FormFields.escape(path))
            }
            let form = ["Content-Type": "application/x-www-form-urlencoded"]
            let refused = try await rig.post("/sign-in", "key=rck_wrong", headers: form)
            #expect(refused.status == 401 && refused.text.contains("not known"))
            let crossSite = try await rig.post(
                "/sign-in", "key=\(rig.readKey)", headers: form.merging(["Sec-Fetch-Site": "cross-site"]) { $1 })
            #expect(crossSite.status == 403)
            for (origin, status) in [
                ("http://127.0.0.1:\(rig.port)", 303), ("https://evil.example", 403), ("null", 403),
            ] {
                let answer = try await rig.post(
                    "/sign-in", "key=\(rig.readKey)", headers: form.merging(["Origin": origin]) { $1 })
                #expect(answer.status == status, "\(origin)")
            }
            let away = try await rig.post("/sign-in", "key=\(rig.readKey)&next=//evil.example/", headers: form)
            #expect(away.headers["location"] == "/")
        }
    }

    @Test func `another district's pages and missing ones are the same page`() async throws {
        try await ReportRig.run { rig in
            let blast = try await rig.blast([.init(facts: .initial)])
            let own = try await rig.session(key: rig.readKey)
            let foreign = try await rig.session(key: rig.foreignKey)
            for suffix in ["", "/live", "/recipients/1"] {
                let answer = try await rig.page("/blasts/\(blast)\(suffix)", cookie: foreign)
                #expect(answer.status == 404)
                let missing = try await rig.page(
                    "/blasts/01900000-0000-7000-8000-000000000000\(suffix)", cookie: own)
                #expect(answer.text == missing.text)
            }
        }
    }

    @Test func `the table of a page adds up, and its parts are not sent again unchanged`() async throws {
        try await ReportRig.run { rig in
            var random = SeededGenerator(seed: 9)
            let people = (0..<120).map { _ in ReportRig.Person(facts: randomFacts(using: &random)) }
            let blast = try await rig.blast(people)
            let cookie = try await rig.session(key: rig.readKey)
            for vocabulary in StatusVocabulary.all {
                let page = try await rig.page("/blasts/\(blast)?vocabulary=\(vocabulary.name)", cookie: cookie)
                let table = try #require(page.text.firstMatch(of: /(?s)<table class="counts">(.*?)<\/table>/)).output.1
                let numbers = table.matches(of: /<\/th><td class="number">(\d+)<\/td>/).compactMap { Int($0.output.1) }
                #expect(numbers.last == people.count && numbers.dropLast().reduce(0, +) == people.count)
                let tag = try #require(page.text.firstMatch(of: /data-tag="([^"]+)"/)).output.1
                    .replacingOccurrences(of: "&quot;", with: "\"")
                let live = try await rig.page(
                    "/blasts/\(blast)/live?vocabulary=\(vocabulary.name)", cookie: cookie,
                    headers: ["If-None-Match": tag])
                #expect(live.status == 304)
            }
        }
    }

    @Test func `a blast that stands still says who can let it go on and how, and rows have the numbers of reasons`()
        async throws
    {
        try await ReportRig.run { rig in
            let blast = try await rig.blast([.init(name: "Ann", facts: .initial), .init(name: "Bo", facts: .initial)])
            let cookie = try await rig.session(key: rig.readKey)
            func page() async throws -> String { try await rig.page("/blasts/\(blast)", cookie: cookie).text }
            #expect(try await page().contains("<bdi>Bo</bdi><small><bdi>Recipient 2, S-2</bdi></small>"))
            let how = "until somebody with a key that may send resumes it: rollcall resume \(blast)."
            #expect(try await !page().contains(how))
            _ = try await rig.owner.query("UPDATE blast SET held_at = now(), held_reason = 'Of 2 tried 2 came back'")
            #expect(try await page().contains("Of 2 tried 2 came back. Nothing more is sent \(how)"))
            _ = try await rig.owner.query("UPDATE blast SET resumed_at = held_at")
            #expect(try await page().contains(how), "resumed before it was held")
            _ = try await rig.owner.query("UPDATE blast SET resumed_at = held_at + interval '1 second'")
            #expect(try await !page().contains(how))
            _ = try await rig.owner.query("UPDATE blast SET paused_at = now()")
            #expect(try await page().contains(how))
        }
    }

    @Test func `a blast by text message alone is called so on every page, and one by mail as ever (I-01, C-08)`()
        async throws
    {
        try await ReportRig.run { rig in
            let blast = try await rig.blast([.init(name: "Ann", facts: .initial)])
            let cookie = try await rig.session(key: rig.adminKey)
            for (channels, sender, kind, other) in [
                ("{sms}", "", "Text Message Blast", "Email Blast"),
                ("{email,sms}", "office@district.example", "Email Blast", "Text Message Blast"),
            ] {
                _ = try await rig.owner.query(
                    """
                    UPDATE blast SET channels = $1::text::text[], from_address = $2, state = 'awaiting_approval',
                                     requested_by = 'Office', approval_until = now() + interval '1 day'
                    """, [.text(channels), .text(sender)])
                let answer = try await rig.get("/v1/blasts/\(blast)").json()
                #expect(answer["title"] as? String == "\(kind) :: Snow day")
                for path in ["/", "/blasts/\(blast)", "/blasts/\(blast)/recipients/1", "/blasts/\(blast)/approve"] {
                    let page = try await rig.page(path, cookie: cookie)
                    #expect(page.status == 200 && page.text.contains("\(kind) :: <bdi>Snow day</bdi>"), "\(path)")
                    #expect(!page.text.contains(other), "\(path)")
                }
            }
        }
    }

    @Test func `every status has words for people`() {
        for fact in DeliveryFact.allCases {
            #expect(fact.plainWords.meaning.hasSuffix(".") && fact.plainWords.event.hasSuffix("."), "\(fact)")
        }
    }

    @Test func `times are the district's`() {
        let summer: Int64 = 1_494_513_840_000_000
        #expect(LocalTime(zone: "America/Chicago").text(summer) == "May 11, 2017 9:44 am", "S-02")
        #expect(LocalTime(zone: "UTC").text(summer) == "May 11, 2017 2:44 pm")
        #expect(LocalTime(zone: "Nowhere/At_All").zoneName == "UTC")
    }
}
