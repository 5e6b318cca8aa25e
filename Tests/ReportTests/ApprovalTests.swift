import Delivery
import Postgres
import Signing
import TestKit
import Testing

@testable import report_api

@Suite struct `Approval on the report page` {
    private static func waiting(_ rig: ReportRig, by label: String, key: String = "rck_other") async throws -> BlastID {
        let blast = try await rig.blast([.init(facts: .initial)], state: "awaiting_approval")
        _ = try await rig.owner.query(
            """
            UPDATE blast SET requested_by = $2, requested_by_key = $3, approval_until = now() + interval '1 hour'
             WHERE blast_id = $1
            """, [.uuid(high: blast.high, low: blast.low), .text(label), .text(key)])
        return blast
    }

    private static func state(_ rig: ReportRig, _ blast: BlastID) async throws -> String {
        let row = try await rig.owner.query(
            "SELECT state || ' ' || coalesce(approved_by, 'nobody') AS s FROM blast WHERE blast_id = $1",
            [.uuid(high: blast.high, low: blast.low)])[0]
        return try row.string("s")
    }

    @Test func `is offered to another person than the one who ordered, and takes a second step`() async throws {
        try await ReportRig.run { rig in
            let cookie = try await rig.session(key: rig.adminKey)
            let reader = try await rig.session(key: rig.readKey)
            let blast = try await Self.waiting(rig, by: "Office")
            let form = "action=\"/blasts/\(blast)/approve\""
            #expect(try await rig.page("/blasts/\(blast)", cookie: cookie).text.contains(form))
            #expect(try await !rig.page("/blasts/\(blast)", cookie: reader).text.contains(form))
            #expect(try await rig.page("/blasts/\(blast)/approve", cookie: reader).status == 403)
            let asked = try await rig.page("/blasts/\(blast)/approve", cookie: cookie)
            #expect(asked.status == 200 && asked.text.contains("<bdi>Office</bdi>"))
            #expect(asked.text.contains("It goes to 1 recipient") && asked.text.contains("method=\"post\" \(form)"))
            #expect(try await Self.state(rig, blast) == "awaiting_approval nobody", "looking approves nothing")

            func send(_ cookie: String, _ more: [String: String] = [:]) async throws -> HTTP.Answer {
                try await rig.post(
                    "/blasts/\(blast)/approve", "",
                    headers: ["Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"]
                        .merging(more) { $1 })
            }
            #expect(try await send(cookie, ["Origin": "https://evil.example"]).status == 403)
            #expect(try await send(cookie, ["Sec-Fetch-Site": "cross-site"]).status == 403)
            #expect(try await send(reader).status == 403)
            #expect(try await send(try await rig.session(key: rig.foreignKey)).status == 404)
            #expect(try await send("").status == 303, "to the sign-in page")
            #expect(try await Self.state(rig, blast) == "awaiting_approval nobody")
            let done = try await send(cookie)
            #expect(done.status == 303 && done.headers["location"] == "/blasts/\(blast)")
            #expect(try await Self.state(rig, blast) == "sending Desk")
            #expect(try await send(cookie).status == 409)
            #expect(try await rig.page("/blasts/\(blast)/approve", cookie: cookie).status == 409)
            #expect(try await !rig.page("/blasts/\(blast)", cookie: cookie).text.contains(form))
        }
    }

    @Test(arguments: [true, false])
    func `is not for whoever ordered it, by the label or by the key`(byLabel: Bool) async throws {
        try await ReportRig.run { rig in
            let own = try #require(APIKey(rig.adminKey)).id
            let blast = try await Self.waiting(rig, by: byLabel ? "Desk" : "Office", key: byLabel ? "rck_other" : own)
            let cookie = try await rig.session(key: rig.adminKey)
            #expect(try await !rig.page("/blasts/\(blast)", cookie: cookie).text.contains("/approve\""))
            #expect(try await rig.page("/blasts/\(blast)/approve", cookie: cookie).status == 403)
            let answer = try await rig.post(
                "/blasts/\(blast)/approve", "",
                headers: ["Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"])
            #expect(answer.status == 403 && answer.text.contains("Somebody else has to approve"))
            #expect(try await Self.state(rig, blast) == "awaiting_approval nobody")
        }
    }
}
