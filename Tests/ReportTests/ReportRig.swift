import Delivery
import Foundation
import Logging
import Postgres
import Runtime
import ServiceLifecycle
import Signing
import TestKit
import Testing

@testable import report_api

/// The report of one process over a real socket, with a database of its own and two districts.
struct ReportRig: Sendable {
    let owner: PostgresConnection
    let port: Int
    let readKey: String
    let adminKey: String
    let sendKey: String
    /// Of district 2, which has nothing.
    let foreignKey: String

    static func run(_ body: @Sendable (ReportRig) async throws -> Void) async throws {
        let database = try await LocalStack.shared().database("report")
        let owner = PostgresConnection(database.owner, name: "owner")
        try await owner.connect()
        _ = try await owner.query(
            """
            INSERT INTO district (district_id, name, time_zone)
            VALUES (1, 'North & <b>South</b>', 'America/Chicago'), (2, 'Other', 'UTC')
            """)
        let pool = PostgresPool(database.role("rollcall_report"), size: 4)
        let logger = Logger(label: "report-test") { _ in SwiftLogNoOpLogHandler() }
        let routes = try ReportRoutes(pool: pool, sessions: Sessions(secret: nil), commandWake: Wake())
        let (ports, portSink) = AsyncStream.makeStream(of: Int.self)
        let server = HTTPServerService(
            name: "report", listen: ListenAddress(host: "127.0.0.1", port: 0), logger: logger,
            context: ServiceRequestContext.self, problemPage: routes.problemPage,
            onListening: { portSink.yield($0) }, routes: { routes.register(on: $0) })
        let group = ServiceGroup(configuration: .init(services: [server], logger: logger))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            let port = try #require(await ports.first { _ in true })
            let rig = ReportRig(
                owner: owner, port: port, readKey: try await key(1, ["read"], owner),
                adminKey: try await key(1, ["read", "admin"], owner), sendKey: try await key(1, ["send"], owner),
                foreignKey: try await key(2, ["read", "admin"], owner))
            var failure: (any Error)?
            do { try await body(rig) } catch { failure = error }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
            if let failure { throw failure }
        }
        await pool.close()
        await owner.close()
    }

    static func key(_ district: Int64, _ scopes: [String], _ owner: PostgresConnection) async throws -> String {
        let made = try #require(APIKey.generate())
        _ = try await owner.query(
            "INSERT INTO api_key (key_id, district_id, secret_sha256, scopes, label) VALUES ($1, $2, $3, $4, 'Desk')",
            [.text(made.key.id), .int(district), .bytes(made.key.secretSHA256), .textArray(scopes)])
        return made.text
    }

    struct Person: Sendable {
        var name = "Pat"
        var address = "pat@district.example"
        var facts: DeliveryFacts
    }

    /// A blast of district 1 as intake, guard and projector leave it.
    func blast(_ people: [Person], subject: String = "Snow day", state: String = "sending", expires: String? = nil)
        async throws -> BlastID
    {
        let row = try #require(
            try await owner.query(
                """
                INSERT INTO blast (blast_id, district_id, subject, text_template, from_address, in_doubt_policy, state,
                                   send_requested_at, audience, created_by, expires_at)
                VALUES (mint_blast_id(), 1, $1, 't', 'office@district.example', 'at_most_once', $2,
                        CASE WHEN $2 <> 'draft' THEN now() END, $3, 'test', $4::text::timestamptz) RETURNING blast_id
                """, [.text(subject), .text(state), .int(Int64(people.count)), .text(expires)]
            ).first)
        let uuid = try row.uuid("blast_id")
        let id = PostgresParameter.uuid(high: uuid.high, low: uuid.low)
        _ = try await owner.query(
            """
            INSERT INTO recipient (blast_id, recipient_no, district_id, line_no, address, address_hash, name, person_ref)
            SELECT $1, n, 1, n, address, 'h', name, 'S-' || n FROM unnest($2::text[], $3::text[])
              WITH ORDINALITY AS p (name, address, n)
            """, [id, .textArray(people.map(\.name)), .textArray(people.map(\.address))])
        _ = try await owner.query(
            """
            INSERT INTO delivery_status (blast_id, recipient_no, district_id, facts)
            SELECT $1, n, 1, facts FROM unnest($2::bigint[]) WITH ORDINALITY AS p (facts, n)
            """, [id, .int8Array(people.map(\.facts.bits))])
        _ = try await owner.query(
            """
            INSERT INTO delivery_problem (blast_id, fact, recipient_no, district_id)
            SELECT $1, f, recipient_no, 1 FROM delivery_status, unnest($2::int[]) f
             WHERE blast_id = $1 AND facts & (1::bigint << f) <> 0
            """, [id, .int4Array(StatusFilter.recorded.facts.map { Int32($0.rawValue) })])
        // Counters in three parts, one of them partly negative, as moving deliveries leaves them.
        _ = try await owner.query(
            """
            INSERT INTO blast_count (blast_id, part, facts, district_id, n)
            SELECT $1, -1, 1, 1, $2::bigint UNION ALL SELECT $1, 0, 1, 1, -$2::bigint
            UNION ALL SELECT $1, 1, facts, 1, count(*) FROM delivery_status WHERE blast_id = $1 GROUP BY facts
            """, [id, .int(Int64(people.count))])
        return BlastID(high: uuid.high, low: uuid.low)
    }

    /// The records of a delivery, oldest first, and its row as the projector leaves it.
    func history(_ blast: BlastID, _ number: Int32, _ facts: [DeliveryFact], firstSeq: Int64) async throws {
        var state = DeliveryFacts.initial
        for (index, fact) in facts.enumerated() {
            state = state.union(fact)
            let seq = firstSeq + Int64(index) * 10
            _ = try await owner.query(
                """
                INSERT INTO delivery_log (blast_id, part, seq, prev_seq, recipient_no, district_id, incarnation, event_id,
                                          source, fact, facts, attempts, changed_at, occurred_at, recorded_at, evidence)
                VALUES ($1, 2, $2, $3, $4, 1, 1, 'e' || $2, '/test', $5, $6, 1, now(), now(), now(), $7)
                """,
                [
                    .uuid(high: blast.high, low: blast.low), .int(seq), .int(index == 0 ? nil : seq - 10),
                    .int(Int64(number)), .int(Int64(fact.rawValue)), .int(state.bits), .text("<i>\(fact.name)</i>"),
                ])
            _ = try await owner.query(
                "UPDATE delivery_status SET facts = $3, part = 2, last_seq = $4 WHERE blast_id = $1 AND recipient_no = $2",
                [.uuid(high: blast.high, low: blast.low), .int(Int64(number)), .int(state.bits), .int(seq)])
        }
    }

    // MARK: Requests

    func get(_ path: String, key: String? = nil, headers: [String: String] = [:]) async throws -> HTTP.Answer {
        try await HTTP.request(
            "GET", "http://127.0.0.1:\(port)\(path)",
            headers: headers.merging(["Authorization": "Bearer \(key ?? readKey)"]) { $1 })
    }

    func post(_ path: String, _ body: String, headers: [String: String]) async throws -> HTTP.Answer {
        try await HTTP.request(
            "POST", "http://127.0.0.1:\(port)\(path)", headers: headers, body: Data(body.utf8))
    }

    /// The cookie of a person signed in with a key.
    func session(key: String) async throws -> String {
        let answer = try await post(
            "/sign-in", "key=\(key)", headers: ["Content-Type": "application/x-www-form-urlencoded"])
        #expect(answer.status == 303, "\(answer.text)")
        let cookie = try #require(answer.headers["set-cookie"])
        #expect(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"))
        return String(try #require(cookie.split(separator: ";").first))
    }

    func page(_ path: String, cookie: String, headers: [String: String] = [:]) async throws -> HTTP.Answer {
        try await HTTP.request(
            "GET", "http://127.0.0.1:\(port)\(path)", headers: headers.merging(["Cookie": cookie]) { $1 })
    }

    /// The rows of every page of a list, following its cursors.
    func all(_ path: String) async throws -> [[String: Any]] {
        var items: [[String: Any]] = []
        var cursor: String?
        repeat {
            let answer = try await get(path + (path.contains("?") ? "&" : "?") + (cursor.map { "cursor=\($0)" } ?? ""))
            try #require(answer.status == 200, "\(answer.text)")
            items += try #require(answer.json()["items"] as? [[String: Any]])
            cursor = try answer.json()["next_cursor"] as? String
        } while cursor != nil
        return items
    }
}

/// Sets of facts as they occur: any facts at all, on top of pending.
func randomFacts(using random: inout SeededGenerator) -> DeliveryFacts {
    var facts = DeliveryFacts.initial
    for _ in 0..<Int.random(in: 0...4, using: &random) {
        facts = facts.union(DeliveryFact.allCases.randomElement(using: &random) ?? .sent)
    }
    return facts
}
