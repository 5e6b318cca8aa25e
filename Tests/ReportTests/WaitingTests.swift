import Contracts
import Delivery
import Postgres
import TestKit
import Testing

@testable import report_api

@Suite struct `What a blast waits for` {
    private struct Case {
        /// The blast becomes this; `$1` is its id.
        let change: String
        let title: String
        /// As on the page, with the district's times for the names of the API's members.
        let text: String
        let waitsFor: String?
        var district = "quiet_from = NULL, quiet_until = NULL"
    }

    private static let quietNow = """
        quiet_from = (now() AT TIME ZONE time_zone)::time - interval '1 hour',
        quiet_until = (now() AT TIME ZONE time_zone)::time + interval '1 hour'
        """
    private static let resume = "Nothing more is sent until somebody with a key that may send resumes it"
    private static let night = """
        state = 'scheduled',
        send_at = (date_trunc('day', now() AT TIME ZONE 'America/Chicago') + interval '1 day 23 hours')
                  AT TIME ZONE 'America/Chicago'
        """
    private static let cases = [
        Case(change: "state = 'sending'", title: "Being sent", text: "0 of 1 recipient are dealt with.", waitsFor: nil),
        Case(
            change: "state = 'sending'", title: "Quiet hours",
            text: "The others wait until {clock quiet_until}, the end of the district&#39;s quiet hours.",
            waitsFor: "{quiet_until}, the end of the district's quiet hours", district: quietNow),
        Case(
            change: "class = 'emergency'", title: "Being sent", text: "0 of 1 recipient", waitsFor: nil,
            district: quietNow),
        Case(
            change: "class = 'general', \(night)", title: "Scheduled", text: "It will be sent on {send_at}, to 1",
            waitsFor: "{send_at}"),
        Case(
            change: night, title: "Scheduled",
            text: "That is in the quiet hours of the district; it waits until {quiet_until}.",
            waitsFor: "{quiet_until}, the end of the district's quiet hours",
            district: "quiet_from = '22:00', quiet_until = '06:30'"),
        Case(
            change: "paused_at = now(), \(night)", title: "Scheduled and paused", text: resume,
            waitsFor: "{send_at} and somebody to resume it"),
        Case(
            change: "state = 'awaiting_approval', requested_by = 'Ann', approval_until = now() + interval '1 day'",
            title: "Waiting for approval",
            text: "Ordered by Ann. Somebody else has to approve it until {approval_until}; otherwise nothing is sent.",
            waitsFor: "somebody else's approval until {approval_until}"),
        Case(
            change: "state = 'sending', paused_at = now()", title: "Paused", text: resume,
            waitsFor: "somebody to resume it"),
        Case(
            change: "paused_at = NULL, held_at = now(), held_reason = 'Of 9 tried 9 came back'",
            title: "Stopped by itself", text: "Of 9 tried 9 came back. \(resume)",
            waitsFor: "somebody to resume it: Of 9 tried 9 came back"),
        Case(
            change: "held_at = NULL, idle_since = now() - interval '1 hour', stall_reported_at = now()",
            title: "Held up", text: "Nothing could be handed over since ", waitsFor: "the operators: nothing could be"),
        Case(change: "idle_since = NULL", title: "Being sent", text: "0 of 1 recipient", waitsFor: nil),
        Case(
            change: "cancelled_at = now(), paused_at = now()", title: "Being cancelled", text: "0 of 1 recipient",
            waitsFor: nil),
    ]

    /// With `{member}` as a page shows the time of that member of the API's answer, `{clock member}` its time of day.
    private static func filled(_ text: String, _ json: [String: Any]) throws -> String {
        let times = LocalTime(zone: "America/Chicago")
        var filled = text
        for member in ["quiet_until", "send_at", "approval_until"] where text.contains(member) {
            let at = try #require((json[member] as? String).flatMap { Timestamp.microseconds($0) }, "\(member)")
            filled = filled.replacing("{\(member)}", with: times.text(at))
                .replacing("{clock \(member)}", with: times.clock(at))
        }
        return filled
    }

    @Test func `stands on its page, in the list and in the API, in plain words and the district's time`() async throws {
        try await ReportRig.run { rig in
            let cookie = try await rig.session(key: rig.readKey)
            let blast = try await rig.blast([.init(facts: .initial)])
            let id = PostgresParameter.uuid(high: blast.high, low: blast.low)
            var tag: String?
            var before: String??
            for given in Self.cases {
                _ = try await rig.owner.query("UPDATE district SET \(given.district) WHERE district_id = 1")
                _ = try await rig.owner.query("UPDATE blast SET \(given.change) WHERE blast_id = $1", [id])
                let json = try await rig.get("/v1/blasts/\(blast)").json()
                let counts = try await rig.get(
                    "/v1/blasts/\(blast)/counts", headers: tag.map { ["If-None-Match": $0] } ?? [:])
                let waitsFor = json["waits_for"] as? String
                #expect(counts.status == (before == .some(waitsFor) ? 304 : 200), "\(given.change)")
                if counts.status == 200 { #expect(try counts.json()["waits_for"] as? String == waitsFor) }
                (tag, before) = (counts.headers["etag"], waitsFor)
                if let expected = given.waitsFor {
                    let words = try Self.filled(expected, json)
                    #expect(waitsFor?.hasPrefix(words) == true, "\(waitsFor ?? "nothing"), not \(words)")
                } else {
                    #expect(waitsFor == nil, "\(given.change)")
                }
                let page = try await rig.page("/blasts/\(blast)", cookie: cookie).text
                let text = try Self.filled(given.text, json)
                #expect(page.contains("<strong>\(given.title).</strong>"), "\(given.title)")
                #expect(page.contains(text) || page.contains(text.replacing("&#39;", with: "'")), "\(text)")
                #expect(try await rig.page("/", cookie: cookie).text.contains(given.title))
            }
        }
    }

    @Test func `names the operators and their reason, but for emergencies`() async throws {
        try await ReportRig.run { rig in
            let cookie = try await rig.session(key: rig.readKey)
            let blast = try await rig.blast([.init(facts: .initial)])
            func waitsFor() async throws -> String? {
                try await rig.get("/v1/blasts/\(blast)").json()["waits_for"] as? String
            }
            _ = try await rig.owner.query(
                "INSERT INTO operator_pause (begun_by, reason) VALUES ('op', 'the relay is being moved')")
            #expect(try await waitsFor() == "the operators, who paused all sending: the relay is being moved")
            let page = try await rig.page("/blasts/\(blast)", cookie: cookie).text
            #expect(page.contains("All sending waits: the relay is being moved"))
            _ = try await rig.owner.query("UPDATE blast SET class = 'emergency'")
            #expect(try await waitsFor() == nil)
            _ = try await rig.owner.query("UPDATE operator_pause SET includes_emergency = true")
            #expect(try await waitsFor() != nil)
        }
    }
}
