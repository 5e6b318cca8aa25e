import Foundation
import NIOCore
import NIOPosix
import Postgres
import TestKit
import Testing

@testable import sender

@Suite(.timeLimit(.minutes(5))) struct `Intake takes a blast in` {
    static let list = "email,name,bus\na@x.example,A,1\nA@X.example,B,2\n,C,3\nbad@,D,\nd@x.example,\"E, F\",\n"

    @Test func `a list gives recipients, pending rows and a counter at once, with what is wrong by line (C-01, C-05)`()
        async throws
    {
        try await IntakeRig.run { rig in
            let created = try await rig.request("POST", "/v1/blasts", IntakeRig.draft)
            let blast = try #require(created.json()["blast_id"] as? String)
            #expect(created.headers["location"] == "/v1/blasts/\(blast)")
            #expect(try created.json()["title"] as? String == "Email Blast :: Bus {{bus}} is late")
            #expect(try created.json()["in_doubt_policy"] as? String == "at_most_once")
            let answer = try await rig.upload(blast, Self.list)
            #expect(answer.status == 200, "\(answer.text)")
            let json = try answer.json()
            #expect(json["audience"] as? Int == 5)
            #expect(json["invalid"] as? Int == 1)
            #expect(json["no_address"] as? Int == 1)
            #expect(json["duplicates"] as? Int == 1)
            #expect((json["faults"] as? [[String: Any]])?.compactMap { $0["line"] as? Int } == [4, 5])
            #expect(json["fields"] as? [String] == ["email", "name", "bus"])
            for table in ["recipient", "delivery_status"] { #expect(try await rig.count(table, blast) == 5) }
            let rows = try await rig.owner.query(
                """
                SELECT part, facts, n, (SELECT sum(facts) FROM delivery_status) AS facts_sum,
                       (SELECT fields ->> 'bus' FROM recipient WHERE recipient_no = 2) AS bus,
                       (SELECT count(*) FROM recipient WHERE fault IN (6, 14) AND address_hash IS NULL) AS faulty
                  FROM blast_count
                """)
            let row = try #require(rows.first)
            #expect(rows.count == 1)
            #expect(try row.int("part") == -1)
            #expect(try row.int("n") == 5)
            #expect(try row.int("facts_sum") == 5)
            #expect(try row.string("bus") == "2")
            #expect(try row.int("faulty") == 2)
            let summary = try await rig.request("GET", "/v1/blasts/\(blast)/summary").json()
            #expect(summary["audience"] as? Int == 5)
            #expect(summary["duplicates"] as? Int == 1)
            #expect((summary["missing_fields"] as? [String])?.isEmpty == true)
            let fields = try #require(summary["fields"] as? [[String: Any]])
            #expect(fields.first { $0["name"] as? String == "bus" }?["empty"] as? Int == 1)
        }
    }

    @Test func `a reference to a person that may be an address is kept, and not for readers of the status topic`()
        async throws
    {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            let long = String(repeating: "é", count: 128)
            let people = ["family-4711", "b@x.example", "the Smiths (b@x.example)", long, long + "1"]
            let lines = people.enumerated().map { "f\($0.offset)@x.example,\($0.element)\n" }
            let answer = try await rig.upload(blast, "email,person_ref\n" + lines.joined())
            #expect(answer.status == 200, "\(answer.text)")
            for (table, expected) in [
                ("recipient", people.map(Optional.some)), ("delivery_status", ["family-4711", nil, nil, long, nil]),
            ] {
                let rows = try await rig.owner.query("SELECT person_ref FROM \(table) ORDER BY recipient_no")
                #expect(try rows.map { try $0.optionalString("person_ref") } == expected, "\(table)")
            }
        }
    }

    @Test func `a second list replaces the first one whole, as NDJSON too`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            #expect(try await rig.upload(blast, Self.list).status == 200)
            let lines =
                "{\"email\":\"z@x.example\",\"fields\":{\"bus\":\"a\\\"b\\\\c\"},\"categories\":[\"x\",\"y z\"]}\n"
            let answer = try await rig.request(
                "PUT", "/v1/blasts/\(blast)/recipients", lines, type: "application/x-ndjson; charset=UTF-8")
            #expect(answer.status == 200, "\(answer.text)")
            for table in ["recipient", "delivery_status", "blast_count"] {
                #expect(try await rig.count(table, blast) == 1)
            }
            let rows = try await rig.owner.query("SELECT address, fields ->> 'bus' AS bus, categories FROM recipient")
            let row = try #require(rows.first)
            #expect(try row.string("address") == "z@x.example")
            #expect(try row.string("bus") == "a\"b\\c")
            #expect(try row.textArray("categories") == ["x", "y z"])
        }
    }

    @Test func `an upload that breaks off changes nothing, with a length and in chunks`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            #expect(try await rig.upload(blast, Self.list).status == 200)
            let before = try await rig.snapshot()
            let part = "email,name,bus\nz@x.example,Z,1\n"
            let size = String(part.utf8.count, radix: 16)
            for framing in [
                "Content-Length: 5000\r\n\r\n\(part)", "Transfer-Encoding: chunked\r\n\r\n\(size)\r\n\(part)\r\n",
            ] {
                let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                    .connect(host: "127.0.0.1", port: rig.port).get()
                let head =
                    "PUT /v1/blasts/\(blast)/recipients HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
                    + "Authorization: Bearer \(rig.sendKey)\r\n"
                try await channel.writeAndFlush(ByteBuffer(string: head + framing)).get()
                try await eventually("the upload holds its transaction") {
                    try await rig.openUploads() == 1
                }
                try await channel.close().get()
                try await eventually("the upload's transaction ends") { try await rig.openUploads() == 0 }
                #expect(try await rig.snapshot() == before)
            }
        }
    }

    @Test func `sending stores chunks and links once, and repeating the order is the same answer`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            let path = "/v1/blasts/\(blast)/send"
            let before = try await rig.snapshot()
            for key in [nil, "", "a b", "é", String(repeating: "k", count: 201)] {
                let headers = key.map { ["Idempotency-Key": $0] } ?? [:]
                let answer = try await rig.request("POST", path, headers: headers)
                #expect(answer.status == 400, "\(answer.text)")
            }
            _ = try await rig.request("POST", path, headers: ["Idempotency-Key": "k1"]).problem(422, "empty-audience")
            #expect(try await rig.snapshot() == before)
            #expect(try await rig.upload(blast, "email,name\na@x.example,A\n").status == 200)
            let problem = try await rig.request("POST", path, headers: ["Idempotency-Key": "k1"])
                .problem(422, "missing-fields")
            #expect(problem["fields"] as? [String] == ["bus"])
            #expect(try await rig.upload(blast, Self.list).status == 200)
            let first = try await rig.request("POST", path, "{}", headers: ["Idempotency-Key": "k1"])
            #expect(first.status == 202, "\(first.text)")
            #expect(try first.json()["chunks"] as? Int == 3)
            #expect(try first.json()["links"] as? Int == 1)
            let after = try await rig.snapshot()
            let again = try await rig.request("POST", path, headers: ["Idempotency-Key": "k1"])
            #expect(again.status == 202)
            #expect(again.body == first.body)
            _ = try await rig.request("POST", path, headers: ["Idempotency-Key": "k2"]).problem(409, "already-sent")
            let other = try await rig.blast()
            let withOther = try await rig.snapshot()
            _ = try await rig.request("POST", "/v1/blasts/\(other)/send", headers: ["Idempotency-Key": "k1"])
                .problem(422, "idempotency-key-reused")
            _ = try await rig.upload(blast, "email\nz@x.example\n").problem(409, "not-a-draft")
            _ = try await rig.request("DELETE", "/v1/blasts/\(blast)").problem(409, "not-a-draft")
            #expect(try await rig.snapshot() == withOther)
            #expect(after != before)
            let rows = try await rig.owner.query(
                "SELECT string_agg(first_no || '-' || last_no, ' ' ORDER BY chunk_no) AS ranges FROM chunk")
            #expect(try #require(rows.first).string("ranges") == "1-2 3-4 5-5")
        }
    }

    @Test func `the same order given many times at once is one order`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            #expect(try await rig.upload(blast, Self.list).status == 200)
            let answers = try await withThrowingTaskGroup(of: HTTP.Answer.self) { tasks in
                for number in 0..<8 {
                    tasks.addTask {
                        try await rig.request(
                            "POST", "/v1/blasts/\(blast)/send", headers: ["Idempotency-Key": "k\(number % 2)"])
                    }
                }
                return try await tasks.reduce(into: []) { $0.append($1) }
            }
            #expect(Set(answers.map(\.status)) == [202, 409])
            #expect(answers.count { $0.status == 202 } == 4)
            #expect(Set(answers.filter { $0.status == 202 }.map(\.body)).count == 1)
            #expect(try await rig.count("chunk", blast) == 3)
        }
    }

    @Test func `pause, resume and cancel work while sending, and repeating them changes nothing`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            let path = "/v1/blasts/\(blast)"
            _ = try await rig.request("POST", "\(path)/cancel").problem(409, "not-sending")
            #expect(try await rig.upload(blast, Self.list).status == 200)
            #expect(try await rig.request("POST", "\(path)/send", headers: ["Idempotency-Key": "k"]).status == 202)
            let paused = try await rig.request("POST", "\(path)/pause").json()["paused_at"] as? String
            #expect(paused != nil)
            #expect(try await rig.request("POST", "\(path)/pause").json()["paused_at"] as? String == paused)
            #expect(try await rig.request("POST", "\(path)/resume").json()["paused_at"] == nil)
            #expect(try await rig.request("POST", "\(path)/resume").status == 200)
            let cancelled = try await rig.request("POST", "\(path)/cancel").json()["cancelled_at"] as? String
            #expect(cancelled != nil)
            #expect(try await rig.request("POST", "\(path)/cancel").json()["cancelled_at"] as? String == cancelled)
            _ = try await rig.request("POST", "\(path)/pause").problem(409, "cancelled")
            _ = try await rig.owner.query("UPDATE blast SET state = 'sent'")
            _ = try await rig.request("POST", "\(path)/resume").problem(409, "not-sending")
        }
    }

    @Test func `a deleted draft leaves nothing behind`() async throws {
        try await IntakeRig.run { rig in
            let before = try await rig.snapshot()
            let blast = try await rig.blast()
            #expect(try await rig.upload(blast, Self.list).status == 200)
            #expect(try await rig.request("DELETE", "/v1/blasts/\(blast)").status == 204)
            #expect(try await rig.snapshot() == before)
            _ = try await rig.request("GET", "/v1/blasts/\(blast)").problem(404, "no-such-blast")
        }
    }

    @Test func `fifty thousand recipients go in and come out in order`() async throws {
        try await IntakeRig.run(chunkSize: 500) { rig in
            let blast = try await rig.blast()
            var list = "email,name,bus\n"
            for number in 1...50_000 {
                list += "p\(number)@school\(number % 7).example,Parent \(number),\(number % 40)\n"
            }
            let answer = try await rig.upload(blast, list)
            #expect(answer.status == 200, "\(answer.text)")
            #expect(try answer.json()["audience"] as? Int == 50_000)
            let rows = try await rig.owner.query(
                """
                SELECT count(*) AS n FROM recipient
                 WHERE line_no = recipient_no + 1 AND address LIKE 'p' || recipient_no || '@%'
                """)
            #expect(try #require(rows.first).int("n") == 50_000)
            let analyzed = try await rig.owner.query(
                "SELECT count(*) AS n FROM pg_class WHERE relkind = 'r' AND relname LIKE 'recipient_2%' AND reltuples >= 50000"
            )
            #expect(try #require(analyzed.first).int("n") == 1)
        }
    }
}

extension IntakeRig {
    /// Transactions that are taking a list in.
    fileprivate func openUploads() async throws -> Int64 {
        let rows = try await owner.query(
            """
            SELECT count(*) AS n FROM pg_stat_activity
             WHERE datname = current_database() AND usename = 'rollcall_intake' AND state <> 'idle'
            """)
        return try #require(rows.first).int("n")
    }
}
