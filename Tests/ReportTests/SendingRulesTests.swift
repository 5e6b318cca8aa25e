import Foundation
import TestKit
import Testing

@testable import report_api

@Suite struct `Quiet hours and approval` {
    @Test func `are set by administrators, on the page and by the API, and every change is recorded`() async throws {
        try await ReportRig.run { rig in
            func rules() async throws -> String {
                let json = try await rig.get("/v1/settings").json()
                return "\(json["quiet_hours"] as? String ?? "none") \(json["approval_above"] as? Int ?? -1)"
            }
            func put(_ more: String) async throws -> Int {
                let body = #"{"vocabulary":"canonical","late_bounce":"shown","opens":"all","time_zone":"UTC"\#(more)}"#
                return try await rig.put("/v1/settings", body).status
            }
            #expect(try await rules() == "none -1")
            for (more, then) in [
                (#","quiet_hours":"21:00-07:00","approval_above":500"#, "21:00-07:00 500"), ("", "21:00-07:00 500"),
                (#","approval_above":0"#, "21:00-07:00 0"), (#","quiet_hours":null"#, "none 0"),
                (#","approval_above":null"#, "none -1"),
            ] {
                #expect(try await put(more) == 200)
                #expect(try await rules() == then, "\(more)")
            }
            for bad in [
                #","quiet_hours":"21:00""#, #","quiet_hours":"7:00-8:00""#, #","quiet_hours":"07:00-07:00""#,
                #","quiet_hours":"24:00-07:00""#, #","approval_above":-1"#, #","approval_above":3000000000"#,
            ] {
                #expect(try await put(bad) == 422, "\(bad)")
            }
            #expect(try await put(#","approval_above":"5""#) == 400)
            #expect(try await rules() == "none -1")

            func send(_ key: String, _ more: String) async throws -> Int {
                try await rig.post(
                    "/settings", "vocabulary=canonical&late_bounce=shown&opens=all&time_zone=UTC" + more,
                    headers: [
                        "Cookie": try await rig.session(key: key), "Content-Type": "application/x-www-form-urlencoded",
                    ]
                ).status
            }
            let form = "&quiet_from=20%3A30&quiet_until=06%3A15&approval_above=250"
            #expect(try await send(rig.readKey, form) == 403)
            #expect(try await rules() == "none -1")
            #expect(try await send(rig.adminKey, form) == 303)
            #expect(try await rules() == "20:30-06:15 250")
            for bad in ["&quiet_from=20%3A30", "&approval_above=many"] {
                #expect(try await send(rig.adminKey, bad) == 422, "\(bad)")
            }
            let page = try await rig.page("/settings", cookie: try await rig.session(key: rig.adminKey)).text
            for text in [
                #"type="time" value="20:30""#, #"type="time" value="06:15""#, #"value="250""#,
                "<bdi>Desk</bdi> changed “Quiet hours begin”", "<bdi>Desk</bdi> changed “Approval needed above”",
            ] {
                #expect(page.contains(text), "\(text)")
            }
            #expect(try await send(rig.adminKey, "&quiet_from=&quiet_until=&approval_above=") == 303)
            #expect(try await rules() == "none -1")
        }
    }
}
