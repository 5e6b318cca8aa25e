import Foundation
import Postgres
import TestKit
import Testing

@testable import sender

/// Bad input gets a precise 4xx with a machine-readable body and changes nothing.
@Suite(.timeLimit(.minutes(5))) struct `Intake refuses bad input` {
    @Test func `a wrong, missing, revoked or too weak key is refused`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            let before = try await rig.snapshot()
            let url = "http://127.0.0.1:\(rig.port)/v1/blasts/\(blast)"
            let revoked = try await IntakeRig.key(1, ["send"], rig.owner)
            _ = try await rig.owner.query(
                "UPDATE api_key SET revoked_at = now() WHERE key_id = $1",
                [.text(String(revoked.dropFirst(4).prefix(16)))])
            let wrongSecret = String(rig.sendKey.dropLast(4)) + (rig.sendKey.hasSuffix("0000") ? "1111" : "0000")
            for header in [
                nil, "", "Bearer", "Bearer ", "Basic \(rig.sendKey)", rig.sendKey, "Bearer x", "Bearer \(wrongSecret)",
                "Bearer \(rig.sendKey)0", "Bearer \(revoked)",
                "Bearer rck_0123456789abcdef_\(String(repeating: "0", count: 64))",
            ] {
                for (method, path) in [("GET", ""), ("DELETE", ""), ("POST", "/send"), ("PUT", "/recipients")] {
                    let answer = try await HTTP.request(
                        method, url + path, headers: header.map { ["Authorization": $0] } ?? [:],
                        body: method == "PUT" ? Data("email\n".utf8) : nil)
                    _ = try answer.problem(401, "unauthorized")
                    #expect(answer.headers["www-authenticate"]?.hasPrefix("Bearer") == true)
                }
            }
            for (method, path) in [("DELETE", ""), ("POST", "/send"), ("POST", "/cancel"), ("PUT", "/recipients")] {
                let answer = try await rig.request(
                    method, "/v1/blasts/\(blast)\(path)", method == "PUT" ? "email\n" : nil, key: rig.readKey)
                #expect(try answer.problem(403, "forbidden")["scope"] as? String == "send")
            }
            #expect(try await rig.request("GET", "/v1/blasts/\(blast)", key: rig.readKey).status == 200)
            #expect(try await rig.snapshot() == before)
        }
    }

    @Test func `another district's blast, an unknown one and a malformed id are the same 404 on every route`()
        async throws
    {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            _ = try await rig.upload(blast, "email\na@x.example\n")
            let before = try await rig.snapshot()
            var bodies: Set<String> = []
            for (id, key) in [
                (blast, rig.foreignKey), ("01900000-0000-7000-8000-000000000000", rig.sendKey), ("x", rig.sendKey),
                ("%00", rig.sendKey), (blast + "0", rig.sendKey), ("..", rig.foreignKey),
            ] where id != ".." {
                for (method, path) in [
                    ("GET", ""), ("DELETE", ""), ("PUT", "/recipients"), ("GET", "/summary"), ("POST", "/send"),
                    ("POST", "/cancel"), ("POST", "/pause"), ("POST", "/resume"),
                ] {
                    let answer = try await rig.request(
                        method, "/v1/blasts/\(id)\(path)", method == "PUT" ? "email\nb@x.example\n" : nil,
                        type: "text/csv", key: key, headers: ["Idempotency-Key": "k"])
                    var problem = try answer.problem(404, "no-such-blast")
                    problem["instance"] = nil
                    bodies.insert(
                        String(
                            decoding: try JSONSerialization.data(withJSONObject: problem, options: .sortedKeys),
                            as: UTF8.self))
                }
            }
            #expect(bodies.count == 1)
            #expect(try await rig.snapshot() == before)
        }
    }

    static let from = "\"from\":{\"address\":\"o@d.example\"}"
    static let drafts: [(json: String, field: String)] = [
        ("{\"text\":\"x\",\(from)}", "subject"), ("{\"subject\":\"\",\"text\":\"x\",\(from)}", "subject"),
        ("{\"subject\":7,\"text\":\"x\",\(from)}", "subject"), ("{\"subject\":\"s\",\(from)}", "html"),
        ("{\"subject\":\"s\",\"text\":\"x\"}", "from"),
        ("{\"subject\":\"s\",\"text\":\"x\",\"from\":\"o@d.example\"}", "from"),
        ("{\"subject\":\"s\",\"text\":\"x\",\"from\":{\"address\":\"o@d\"}}", "from.address"),
        ("{\"subject\":\"s\",\"text\":\"x\",\"from\":{\"address\":\"a@b.example, c@d.example\"}}", "from.address"),
        ("{\"subject\":\"s\",\"text\":\"x\",\"from\":{\"address\":\"o@d.example\",\"nmae\":\"x\"}}", "from.nmae"),
        ("{\"subject\":\"s\",\"text\":\"x\",\(from),\"subjct\":\"t\"}", "subjct"),
        ("{\"subject\":\"s\",\"text\":\"x\",\(from),\"channels\":[\"sms\"]}", "channels"),
        ("{\"subject\":\"s\",\"text\":\"x\",\(from),\"channels\":[\"fax\"]}", "channels"),
        ("{\"subject\":\"s\",\"text\":\"x\",\(from),\"class\":\"urgent\"}", "class"),
        ("{\"subject\":\"s\",\"text\":\"x\",\(from),\"dedupe_key\":\"yes\"}", "dedupe_key"),
        ("{\"subject\":\"s\",\"text\":\"x\",\(from),\"in_doubt_policy\":\"maybe\"}", "in_doubt_policy"),
        ("{\"subject\":\"s\",\"text\":\"x\",\(from),\"not_after\":\"tomorrow\"}", "not_after"),
        ("{\"subject\":\"s\",\"text\":\"x\",\(from),\"not_after\":\"2020-01-01T00:00:00Z\"}", "not_after"),
        ("{\"subject\":\"s\",\"text\":\"x\",\(from),\"parent_blast_id\":\"7\"}", "parent_blast_id"),
        (
            "{\"subject\":\"s\",\"text\":\"x\",\(from),\"parent_blast_id\":\"01900000-0000-7000-8000-000000000000\"}",
            "parent_blast_id"
        ),
        ("{\"subject\":\"s {{a\",\"text\":\"x\",\(from)}", "subject"),
        ("{\"subject\":\"s\",\"html\":\"{{{raw}}}\",\(from)}", "html"),
        ("{\"subject\":\"s\",\"text\":\"{{#a}}\",\(from)}", "text"),
        ("{\"subject\":\"s\",\"html\":\"<img alt={{name}}>\",\(from)}", "html"),
        ("{\"subject\":\"\(String(repeating: "s", count: 501))\",\"text\":\"x\",\(from)}", "subject"),
        ("{\"subject\":\"s\",\"text\":\"x\",\(from),\"category\":\"a;b\"}", "category"),
    ]

    @Test func `a draft with a bad member is refused by the member's name`() async throws {
        try await IntakeRig.run { rig in
            let before = try await rig.snapshot()
            for draft in Self.drafts {
                let problem = try await rig.request("POST", "/v1/blasts", draft.json).problem(422, "invalid-members")
                #expect(problem["field"] as? String == draft.field, "\(draft.json.prefix(200))")
                #expect((problem["errors"] as? [[String: Any]])?.isEmpty == false)
            }
            #expect(try await rig.snapshot() == before)
        }
    }

    @Test func `CR, LF, CR LF and their relatives are refused in every field, with the octet (S01)`() async throws {
        try await IntakeRig.run { rig in
            let before = try await rig.snapshot()
            for control in ["\\r", "\\n", "\\r\\n", "\\u0085", "\\u2028", "\\u2029", "\\u0009", "\\u007f", "\\u001b"] {
                let evil = "x\(control)Bcc: v@x.example"
                for (field, json) in [
                    ("subject", "{\"subject\":\"\(evil)\",\"text\":\"t\",\(Self.from)}"),
                    (
                        "from.name",
                        "{\"subject\":\"s\",\"text\":\"t\",\"from\":{\"address\":\"o@d.example\",\"name\":\"\(evil)\"}}"
                    ),
                    (
                        "from.address",
                        "{\"subject\":\"s\",\"text\":\"t\",\"from\":{\"address\":\"x\(control)o@d.example\"}}"
                    ),
                    (
                        "reply_to",
                        "{\"subject\":\"s\",\"text\":\"t\",\(Self.from),\"reply_to\":\"x\(control)o@d.example\"}"
                    ),
                    ("category", "{\"subject\":\"s\",\"text\":\"t\",\(Self.from),\"category\":\"\(evil)\"}"),
                    ("school", "{\"subject\":\"s\",\"text\":\"t\",\(Self.from),\"school\":\"\(evil)\"}"),
                ] {
                    let problem = try await rig.request("POST", "/v1/blasts", json).problem(422, "invalid-members")
                    #expect(problem["field"] as? String == field)
                    #expect(problem["position"] as? Int == 2, "\(field) \(control)")
                }
            }
            #expect(try await rig.snapshot() == before)
        }
    }

    @Test func `what is no JSON object, too large or of another type is refused`() async throws {
        var limits = IntakeLimits()
        limits.blastOctets = 2_000
        try await IntakeRig.run(limits: limits) { rig in
            let before = try await rig.snapshot()
            for body in [
                "", "{", "[]", "\"x\"", "{\"subject\":\"a\",\"subject\":\"b\"}", "\u{FEFF}{}",
                "{\"subject\":\"\\ud800\"}",
                "{\"subject\":\"\\u0000\"}", String(repeating: "[", count: 500),
            ] {
                _ = try await rig.request("POST", "/v1/blasts", body).problem(400, "malformed-json")
            }
            _ = try await rig.request("POST", "/v1/blasts", data: Data([0x7B, 0xFF, 0x7D])).problem(
                400, "malformed-json")
            let long = String(repeating: "x", count: 3_000)
            _ = try await rig.request("POST", "/v1/blasts", "{\"subject\":\"\(long)\"}").problem(413, "too-large")
            for type in ["text/plain", "application/json; charset=iso-8859-1", "multipart/form-data"] {
                _ = try await rig.request("POST", "/v1/blasts", IntakeRig.draft, type: type)
                    .problem(415, "unsupported-media-type")
            }
            _ = try await rig.request(
                "POST", "/v1/blasts", IntakeRig.draft, headers: ["Content-Encoding": "gzip"]
            ).problem(415, "unsupported-media-type")
            #expect(try await rig.snapshot() == before)
        }
    }

    @Test func `a list that is refused leaves the earlier list as it was (S07)`() async throws {
        var limits = IntakeLimits()
        limits.list.octets = 5_000
        limits.list.rows = 20
        try await IntakeRig.run(limits: limits) { rig in
            let blast = try await rig.blast()
            #expect(try await rig.upload(blast, "email,name,bus\na@x.example,A,1\nb@x.example,B,2\n").status == 200)
            let before = try await rig.snapshot()
            let lists: [(list: String, status: Int, slug: String, line: Int?, column: String?)] = [
                ("email,name\na@x.example,\"A\n", 422, "invalid-list", 2, nil),
                ("email,name\na@x.example\n", 422, "invalid-list", 2, nil),
                ("email,nmae\na@x.example,A\n", 422, "invalid-list", 1, "nmae"),
                ("email,grade\na@x.example,A\n", 422, "invalid-list", 1, "grade"),
                ("name\nA\n", 422, "invalid-list", 1, nil), ("", 422, "empty-list", 1, nil),
                ("email,name\n", 422, "empty-list", 1, nil),
                ("email,name\na@x.example,\"A\r\nBcc: v@x.example\"\n", 422, "invalid-list", 2, "name"),
                ("email,name\n\"a\n@x.example\",A\n", 422, "invalid-list", 2, "email"),
                ("email,bus\na@x.example,\"1\r2\"\n", 422, "invalid-list", 2, "bus"),
                ("email\n" + String(repeating: "a@x.example\n", count: 21), 413, "too-large", 22, nil),
                ("email\n" + String(repeating: "a", count: 6_000), 413, "too-large", nil, nil),
            ]
            for list in lists {
                let problem = try await rig.upload(blast, list.list).problem(list.status, list.slug)
                #expect(problem["line"] as? Int == list.line, "\(list.list.prefix(60))")
                #expect(problem["column"] as? String == list.column, "\(list.list.prefix(60))")
                #expect(try await rig.snapshot() == before, "\(list.list.prefix(60))")
            }
            let latin = Data("email,name\na@x.example,Ren".utf8) + Data([0xE9, 0x0A])
            let path = "/v1/blasts/\(blast)/recipients"
            let problem = try await rig.request("PUT", path, data: latin, type: "text/csv").problem(422, "invalid-list")
            #expect(problem["kind"] as? String == "encoding")
            #expect(problem["octet"] as? Int == 4)
            for type in ["application/json", "text/csv; charset=utf-16", "text/plain", "application/vnd.ms-excel"] {
                _ = try await rig.request("PUT", path, "email\na@x.example\n", type: type)
                    .problem(415, "unsupported-media-type")
            }
            _ = try await rig.request("PUT", path, "{\"email\":1}", type: "application/x-ndjson").problem(
                422, "invalid-list")
            #expect(try await rig.snapshot() == before)
        }
    }
}
