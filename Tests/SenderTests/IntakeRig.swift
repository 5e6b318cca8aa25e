import Foundation
import Logging
import Mail
import Postgres
import Runtime
import SMTP
import ServiceLifecycle
import Signing
import Synchronization
import TestKit
import Testing

@testable import sender

/// The intake API of one process over a real socket, with a database of its own and two districts.
struct IntakeRig: Sendable {
    let database: TestDatabase
    let owner: PostgresConnection
    let port: Int
    /// Of district 1; `foreign` is district 2's.
    let sendKey: String
    let readKey: String
    let foreignKey: String
    let outbox: TestOutbox

    static func run(
        limits: IntakeLimits = IntakeLimits(), chunkSize: Int = 2, _ body: @Sendable (IntakeRig) async throws -> Void
    ) async throws {
        let database = try await LocalStack.shared().database("intake")
        let owner = PostgresConnection(database.owner, name: "owner")
        try await owner.connect()
        _ = try await owner.query("INSERT INTO district (district_id, name) VALUES (1, 'North'), (2, 'South')")
        let pool = PostgresPool(database.role("rollcall_intake"), size: 4)
        let uploads = PostgresPool(database.role("rollcall_intake"), size: 2)
        let logger = Logger(label: "intake-test") { _ in SwiftLogNoOpLogHandler() }
        let outbox = TestOutbox()
        let routes = IntakeRoutes(
            pool: pool, uploads: uploads, limits: limits, chunkSize: chunkSize, composer: try composer(),
            testHandOver: { envelope, octets in outbox.take(envelope, octets) }, logger: logger)
        let (ports, portSink) = AsyncStream.makeStream(of: Int.self)
        var http = HTTPLimits()
        http.deadlineOverride = { IntakeRoutes.deadline(for: $0, limits: limits) }
        let server = HTTPServerService(
            name: "sender", listen: ListenAddress(host: "127.0.0.1", port: 0), limits: http, logger: logger,
            context: ServiceRequestContext.self,
            onListening: { portSink.yield($0) }, routes: { routes.register(on: $0) })
        let group = ServiceGroup(configuration: .init(services: [server], logger: logger))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            let port = try #require(await ports.first { _ in true })
            let rig = IntakeRig(
                database: database, owner: owner, port: port,
                sendKey: try await key(1, ["send"], owner), readKey: try await key(1, ["read"], owner),
                foreignKey: try await key(2, ["send", "read", "admin"], owner), outbox: outbox)
            var failure: (any Error)?
            do { try await body(rig) } catch { failure = error }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
            if let failure { throw failure }
        }
        await pool.close()
        await uploads.close()
        await owner.close()
    }

    static func composer() throws -> MessageComposer {
        MessageComposer(
            publicURL: "https://t.example", bounceDomain: "bounce.example",
            keys: try TokenKeys(["1:" + String(repeating: "ab", count: 32)]))
    }

    static func key(_ district: Int64, _ scopes: [String], _ owner: PostgresConnection) async throws -> String {
        let made = try #require(APIKey.generate())
        _ = try await owner.query(
            "INSERT INTO api_key (key_id, district_id, secret_sha256, scopes, label) VALUES ($1, $2, $3, $4, 'test')",
            [.text(made.key.id), .int(district), .bytes(made.key.secretSHA256), .textArray(scopes)])
        return made.text
    }

    func request(
        _ method: String, _ path: String, _ body: String? = nil, type: String? = nil, key: String? = nil,
        headers: [String: String] = [:]
    ) async throws -> HTTP.Answer {
        try await request(method, path, data: body.map { Data($0.utf8) }, type: type, key: key, headers: headers)
    }

    func request(
        _ method: String, _ path: String, data: Data?, type: String? = nil, key: String? = nil,
        headers: [String: String] = [:]
    ) async throws -> HTTP.Answer {
        var all = headers
        all["Authorization"] = "Bearer \(key ?? sendKey)"
        if data != nil { all["Content-Type"] = type ?? "application/json" }
        return try await HTTP.request(
            method, "http://127.0.0.1:\(port)\(path)", headers: all, body: data)
    }

    static let draft = """
        {"subject":"Bus {{bus}} is late","html":"<p>Hi {{name}}</p><a href=\\"https://x.example/a\\">a</a>",
         "from":{"address":"office@district.example","name":"North Office"}}
        """

    /// A new draft's id.
    func blast(_ json: String = Self.draft) async throws -> String {
        let answer = try await request("POST", "/v1/blasts", json)
        try #require(answer.status == 201, "\(answer.text)")
        return try #require(answer.json()["blast_id"] as? String)
    }

    func upload(_ blast: String, _ list: String) async throws -> HTTP.Answer {
        try await request("PUT", "/v1/blasts/\(blast)/recipients", list, type: "text/csv")
    }

    /// Everything that a request could have changed, as one digest per table.
    func snapshot() async throws -> [String] {
        var digests: [String] = []
        for table in [
            "blast", "recipient", "delivery_status", "blast_count", "chunk", "blast_link", "idempotency_key",
        ] {
            let rows = try await owner.query(
                "SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') AS digest "
                    + "FROM rollcall.\(table) t")
            digests.append("\(table) \(try #require(rows.first).string("digest"))")
        }
        return digests
    }

    func count(_ table: String, _ blast: String) async throws -> Int64 {
        let rows = try await owner.query(
            "SELECT count(*) AS n FROM \(table) WHERE blast_id = $1::text::uuid", [.text(blast)])
        return try #require(rows.first).int("n")
    }
}

/// What was handed over for a test, in place of a relay.
final class TestOutbox: Sendable {
    struct Sent {
        let sender: String
        let recipient: String
        let text: String
    }

    private let sent = Mutex<[Sent]>([])
    var messages: [Sent] { sent.withLock { $0 } }

    func take(_ envelope: SMTPEnvelope, _ octets: [UInt8]) -> SMTPOutcome {
        sent.withLock {
            $0.append(
                Sent(
                    sender: envelope.sender, recipient: envelope.recipient,
                    text: String(decoding: octets, as: UTF8.self)))
        }
        return .accepted(SMTPReply(code: 250, lines: ["2.0.0 queued"]))
    }
}

extension HTTP.Answer {
    /// The members of a problem, after checking that it is one.
    func problem(_ status: Int, _ slug: String, sourceLocation: SourceLocation = #_sourceLocation) throws -> [String:
        Any]
    {
        #expect(self.status == status, "\(text)", sourceLocation: sourceLocation)
        #expect(headers["content-type"] == "application/problem+json", sourceLocation: sourceLocation)
        let json = try json()
        #expect(json["type"] as? String == "urn:rollcall:problem:\(slug)", "\(text)", sourceLocation: sourceLocation)
        #expect(json["status"] as? Int == status, sourceLocation: sourceLocation)
        #expect((json["detail"] as? String)?.isEmpty == false, sourceLocation: sourceLocation)
        return json
    }
}
