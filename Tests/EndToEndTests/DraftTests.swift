import Delivery
import Foundation
import Postgres
import Runtime
import Signing
import TestKit
import Testing

/// A draft from the command line to readers' answers, through all services.
@Suite(.serialized) struct `A draft with answers` {
    private static let draft = """
        {"subject":"Trip for {{name}}","text":"{{note}} {{acknowledge_url}} {{respond_url}} {{unsubscribe_url}}",
         "answers":["Coming","Not coming"],"from":{"address":"office@school.example","name":"Office"},
         "in_doubt_policy":"at_least_once"}
        """

    /// More than one part, because of its notes.
    private static func list() -> Data {
        var list = "email,name,note,student_ref,consent\n"
        for number in 1...400 {
            let note = String(repeating: "Bring boots, \(number). ", count: 640)
            list +=
                "success-\(number)@families.example,Child \(number),\"\(note)\",s\(number),\(number == 400 ? "no" : "")\n"
        }
        return Data(list.utf8)
    }

    @Test func `goes on with a list that broke off, is looked at, sent and answered (C-15, C-16)`() async throws {
        try await BlastRig.with("draft") { rig in
            let made = try await rig.call("POST", "/v1/blasts", body: Data(Self.draft.utf8))
            let blast = try #require((try made.json()["blast_id"] as? String).flatMap(BlastID.init), "\(made.text)")
            func tool(_ arguments: String...) async throws -> String {
                let result = try await TestKit.Command.run(
                    ProjectFolder.program("rollcall"), arguments + ["--url", rig.url(), "--key", rig.apiKey])
                try #require(result.status == 0, "\(arguments): \(result.output)")
                return result.output
            }
            let list = Self.list()
            let file = rig.stack.stateFolder.appending(path: "trip.csv")
            try list.write(to: file)
            let first = try await rig.call(
                "PUT", "/v1/blasts/\(blast)/recipients/parts/1", type: "application/octet-stream",
                body: list.prefix(4 * 1024 * 1024))
            #expect(first.status == 200, "\(first.text)")
            try await rig.killAndRestart("sender")
            try await rig.ready("sender")
            let uploaded = try await tool("draft", "upload", "\(blast)", file.path)
            #expect(uploaded.contains("400 recipients: 0 invalid"))
            #expect(uploaded.contains("would be: send 399, consent_denied 1"))
            #expect(try await tool("draft", "preview", "\(blast)", "7").contains("Subject: Trip for Child 7"))
            #expect(try await tool("draft", "dry-run", "\(blast)").contains("400  line 401"))
            #expect(
                try await tool("draft", "test", "\(blast)", "--to", "success-me@families.example").contains("sent; "))
            #expect(try await tool("draft", "send", "\(blast)").contains("sending to 400 recipients"))
            try await Self.answer(rig, blast)
            let rows = try await rig.database.query(
                """
                SELECT (SELECT sum(n) FROM blast_count)::bigint AS counted,
                       (SELECT count(DISTINCT recipient_no) FROM attempt) AS tried
                """)
            #expect(try rows[0].int("counted") == 400)
            #expect(try rows[0].int("tried") == 399)
        }
    }

    private static func answer(_ rig: BlastRig, _ blast: BlastID) async throws {
        _ = try await eventually("everybody has the message") {
            try await rig.facts(of: blast).values.count { $0.contains(.delivered) }
        } until: {
            $0 == 399
        }
        let form = "application/x-www-form-urlencoded"
        let acknowledged = try await rig.call(
            "POST", "/a/\(rig.token(.acknowledge, blast, 1))", "ingester", type: form, body: Data("confirm=1".utf8))
        #expect(acknowledged.status == 200, "\(acknowledged.text)")
        for choice in ["1", "2"] {
            let responded = try await rig.call(
                "POST", "/r/\(rig.token(.respond, blast, 2))", "ingester", type: form,
                body: Data("answer=\(choice)".utf8))
            #expect(responded.status == 200, "\(responded.text)")
        }
        _ = try await eventually("the answers are in the report") {
            try await rig.database.query(
                """
                SELECT recipient_no || ' ' || coalesce(response, '-') AS line FROM delivery_status
                 WHERE blast_id = $1 AND facts & $2 <> 0 ORDER BY recipient_no
                """, [.uuid(blast), .int(DeliveryFacts(.acknowledged, .responded).bits)]
            ).map { try $0.string("line") }
        } until: {
            $0 == ["1 -", "2 Not coming"]
        }
    }
}
