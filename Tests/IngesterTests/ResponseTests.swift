import Contracts
import Delivery
import Foundation
import Postgres
import Signing
import TestKit
import Testing

@Suite(.timeLimit(.minutes(10))) struct `A reader's answer` {
    private static let form = ["Content-Type": "application/x-www-form-urlencoded"]

    @Test func `looking at the acknowledge page changes nothing, pressing the button acknowledges (C-15)`() async throws
    {
        try await IngesterRig.with("ingester-acknowledge") { rig in
            try await rig.start()
            let path = "/a/\(rig.token(.acknowledge, 1))"
            for method in ["GET", "HEAD"] { #expect(try await rig.request(method, path).status == 200) }
            #expect(try await rig.request("POST", path, Self.form, body: "").status == 400)
            for bad in ["/a/x", "/a/\(rig.token(.respond, 1))", "/a/preview"] {
                let answer = try await rig.request("GET", bad)
                #expect(answer.status == 404)
                #expect(answer.text.contains("This link does not work"))
            }
            #expect(try await rig.published().isEmpty)
            for _ in 1...2 {
                let answer = try await rig.request("POST", path, Self.form, body: "confirm=1")
                #expect(answer.status == 200)
                #expect(answer.text.contains("Thank you"))
            }
            let events = try await rig.published()
            #expect(Set(events.map(\.id)).count == 1)
            #expect(try await rig.facts(of: 1) == DeliveryFacts(.acknowledged))
        }
    }

    @Test func `one of the blast's answers is chosen, and may be changed (C-16)`() async throws {
        try await IngesterRig.with("ingester-respond") { rig in
            _ = try await rig.database.query("UPDATE blast SET answers = $1", [.textArray(["Coming", "Not <coming>"])])
            try await rig.start()
            let path = "/r/\(rig.token(.respond, 2))"
            let page = try await eventually("the answers are looked up") {
                try await rig.request("GET", path)
            } until: {
                $0.status == 200
            }
            #expect(page.text.contains("value=\"1\">Coming<"))
            #expect(page.text.contains("value=\"2\">Not &lt;coming&gt;<"))
            for body in ["", "answer=0", "answer=3", "answer=Coming", "confirm=1"] {
                #expect(try await rig.request("POST", path, Self.form, body: body).status == 400)
            }
            #expect(try await rig.request("GET", "/r/\(rig.token(.acknowledge, 2))").status == 404)
            #expect(try await rig.published().isEmpty)
            for answer in ["1", "2"] {
                #expect(try await rig.request("POST", path, Self.form, body: "answer=\(answer)").status == 200)
            }
            let events = try await rig.published().sorted { $0.occurredAtMicroseconds < $1.occurredAtMicroseconds }
            #expect(events.map(\.response) == ["Coming", "Not <coming>"])
            #expect(events.allSatisfy { $0.fact == .responded && $0.delivery.recipientNumber == 2 })
            #expect(Set(events.map(\.id)).count == 2)
        }
    }

    @Test func `a blast without answers has no answer page`() async throws {
        try await IngesterRig.with("ingester-no-answers") { rig in
            try await rig.start()
            let answer = try await eventually("the blast is looked up") {
                try await rig.request("GET", "/r/\(rig.token(.respond, 2))")
            } until: {
                $0.status != 503
            }
            #expect(answer.status == 404)
        }
    }
}
