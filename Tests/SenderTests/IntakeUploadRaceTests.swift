import Foundation
import NIOCore
import NIOPosix
import Postgres
import TestKit
import Testing

@testable import sender

@Suite(.timeLimit(.minutes(5))) struct `A list that is being uploaded` {
    static let list = "email,name,bus\na@x.example,A,1\nb@x.example,B,2\n"

    @Test func `keeps off other uploads and deletion, is unseen, and loses against an order of the earlier one`()
        async throws
    {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            #expect(try await rig.upload(blast, Self.list).status == 200)
            let before = try await rig.snapshot()
            let slow = try await SlowUpload.begin(blast, port: rig.port, key: rig.sendKey)
            try await slow.copies(on: rig.owner)
            async let second = rig.upload(blast, Self.list)
            async let deletion = rig.request("DELETE", "/v1/blasts/\(blast)")
            for answer in try await [second, deletion] { _ = try answer.problem(409, "upload-under-way") }
            let other = try await rig.blast()
            #expect(try await rig.upload(other, Self.list).status == 200)
            #expect(try await rig.request("DELETE", "/v1/blasts/\(other)").status == 204)
            #expect(try await rig.snapshot() == before)
            #expect(
                try await rig.request("POST", "/v1/blasts/\(blast)/send", headers: ["Idempotency-Key": "k"]).status
                    == 202)
            let sent = try await rig.snapshot()
            #expect(try await slow.finish().contains("not-a-draft"))
            #expect(try await rig.snapshot() == sent)
        }
    }

    @Test func `is taken whole by the upload that was repeated after its client had vanished`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            #expect(try await rig.upload(blast, Self.list).status == 200)
            let before = try await rig.snapshot()
            let broken = try await SlowUpload.begin(blast, port: rig.port, key: rig.sendKey)
            try await broken.copies(on: rig.owner)
            try await broken.channel.close().get()
            try await eventually("the list is taken again") { try await rig.upload(blast, Self.list).status == 200 }
            #expect(try await rig.snapshot() == before)
        }
    }

    @Test func `leaves the earlier one when its database session or its process ends in the middle`() async throws {
        try await LocalStack.with("intake-deaths") { stack, processes in try await Self.die(on: stack, processes) }
    }

    private static func die(on stack: LocalStack, _ processes: StartedProcesses) async throws {
        let rig = try await SenderProcessRig.make("uploads", on: stack, processes, smtpPort: 1)
        let owner = PostgresConnection(rig.dispatch.database.owner, name: "owner")
        try await owner.connect()
        let key = try await IntakeRig.key(7, ["send"], owner)
        func request(_ method: String, _ url: String, _ type: String, _ body: String) async throws -> HTTP.Answer {
            try await HTTP.request(
                method, url, headers: ["Authorization": "Bearer \(key)", "Content-Type": type], body: Data(body.utf8))
        }
        func start() async throws -> (ServiceProcess, Int, String) {
            let port = try FreePort.take()
            let sender = try rig.start(port: port)
            let blasts = "http://127.0.0.1:\(port)/v1/blasts"
            let made = try await eventually("the sender takes a draft", within: .seconds(60)) {
                try? await request("POST", blasts, "application/json", IntakeRig.draft)
            } until: {
                $0?.status == 201
            }
            return (sender, port, try #require(try made?.json()["blast_id"] as? String))
        }
        func stored(_ blast: String) async throws -> [Int64] {
            let row = try await owner.query(
                """
                SELECT (SELECT count(*) FROM recipient r WHERE r.blast_id = b.blast_id) AS recipients,
                       (SELECT count(*) FROM recipient r JOIN delivery_status s USING (blast_id, recipient_no)
                         WHERE r.blast_id = b.blast_id AND r.person_ref IS NOT DISTINCT FROM s.person_ref) AS statuses,
                       (SELECT sum(n) FROM blast_count c WHERE c.blast_id = b.blast_id)::bigint AS counted, audience
                  FROM blast b WHERE blast_id = $1::text::uuid
                """, [.text(blast)])[0]
            return [
                try row.int("recipients"), try row.int("statuses"), try row.int("counted"), try row.int("audience"),
            ]
        }
        let (first, firstPort, blast) = try await start()
        let path = "/v1/blasts/\(blast)/recipients"
        #expect(try await request("PUT", "http://127.0.0.1:\(firstPort)\(path)", "text/csv", list).status == 200)

        let cut = try await SlowUpload.begin(blast, port: firstPort, key: key)
        try await cut.copies(on: owner)
        _ = try await owner.query("SELECT pg_terminate_backend(pid) FROM pg_stat_progress_copy")
        #expect(try await cut.finish().contains("503"))
        #expect(try await stored(blast) == [2, 2, 2, 2])

        let killed = try await SlowUpload.begin(blast, port: firstPort, key: key)
        try await killed.copies(on: owner)
        try await first.kill()
        #expect(try await stored(blast) == [2, 2, 2, 2])

        let (_, secondPort, _) = try await start()
        let three = list + "c@x.example,C,3\n"
        let answer = try await request("PUT", "http://127.0.0.1:\(secondPort)\(path)", "text/csv", three)
        #expect(answer.status == 200, "\(answer.text)")
        #expect(try await stored(blast) == [3, 3, 3, 3])
        await owner.close()
        await rig.dispatch.close()
    }

    @Test func `cannot reach another district, whatever is copied`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            let partition = try await rig.owner.query(
                "SELECT daily_partition('recipient', $1::text::uuid)::text AS name", [.text(blast)])[0].string("name")
            let intake = PostgresConnection(rig.database.role("rollcall_intake"), name: "intake")
            try await intake.connect()
            for (district, mayCopy) in [("1", true), ("2", false), ("", false)] {
                try await intake.begin()
                _ = try await intake.query("SELECT set_config('rollcall.district', $1, true)", [.text(district)])
                try await intake.copyBegin(
                    "COPY \(partition) (blast_id, recipient_no, district_id, line_no, address, fault) FROM STDIN")
                try await intake.copyWrite(Array("\(blast)\t1\t1\t2\t\t6\n".utf8))
                if mayCopy {
                    #expect(try await intake.copyEnd() == 1)
                } else {
                    let error = await #expect(throws: PostgresError.self) { try await intake.copyEnd() }
                    #expect(error?.constraint == "recipient_of_own_district")
                }
                try await intake.rollback()
            }
            for privilege in ["SELECT", "UPDATE", "DELETE", "TRUNCATE"] {
                let row = try await rig.owner.query(
                    "SELECT has_table_privilege('rollcall_intake', $1, $2) AS may",
                    [.text(partition), .text(privilege)])[0]
                #expect(try row.bool("may") == false, "\(privilege)")
            }
            await intake.close()
        }
    }
}

/// An upload of many recipients whose client says nothing more for now.
private struct SlowUpload {
    let channel: any NIOCore.Channel
    private let answer: EventLoopFuture<String>

    static func begin(_ blast: String, port: Int, key: String) async throws -> SlowUpload {
        let heard = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: String.self)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { $0.pipeline.addHandler(FirstWords(heard)) }
            .connect(host: "127.0.0.1", port: port).get()
        var text =
            "PUT /v1/blasts/\(blast)/recipients HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
            + "Authorization: Bearer \(key)\r\nTransfer-Encoding: chunked\r\n\r\n"
        var rows = "email,name,bus\n"
        for number in 1...20_000 { rows += "p\(number)@x.example,P,\(number)\n" }
        text += "\(String(rows.utf8.count, radix: 16))\r\n\(rows)\r\n"
        try await channel.writeAndFlush(ByteBuffer(string: text)).get()
        return SlowUpload(channel: channel, answer: heard.futureResult)
    }

    /// Waits until the database has taken rows of it.
    func copies(on owner: PostgresConnection) async throws {
        try await eventually("rows of the slow list are in the database") {
            try await owner.query(
                "SELECT coalesce(max(tuples_processed), 0) AS n FROM pg_stat_progress_copy")[0].int("n") > 0
        }
    }

    /// Sends the end; the beginning of the answer.
    func finish() async throws -> String {
        try? await channel.writeAndFlush(ByteBuffer(string: "0\r\n\r\n")).get()
        let words = try await answer.get()
        try? await channel.close().get()
        return words
    }

    private final class FirstWords: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        private let heard: EventLoopPromise<String>

        init(_ heard: EventLoopPromise<String>) { self.heard = heard }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            heard.succeed(String(buffer: unwrapInboundIn(data)))
        }

        func channelInactive(context: ChannelHandlerContext) { heard.succeed("") }
    }
}
