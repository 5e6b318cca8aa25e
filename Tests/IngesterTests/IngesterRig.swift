import Contracts
import Delivery
import Foundation
import Kafka
import Postgres
import Signing
import TestKit
import Testing

/// A database with one blast, and ingesters to send requests to.
final class IngesterRig {
    static let links = ["https://school.example/menu?week=3", "https://school.example/trip"]
    static let person = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    private static let secrets = ["whsec_" + Data(repeating: 7, count: 32).base64EncodedString()]
    private static let keys = ["1:" + String(repeating: "ab", count: 32), "2:" + String(repeating: "cd", count: 32)]

    let stack: LocalStack
    let database: PostgresPool
    let tokens: TokenKeys
    let webhook: StandardWebhook
    let blast: BlastID
    private let databaseOf: TestDatabase
    private var started: [ServiceProcess] = []
    private var url = ""

    /// - Parameter ownStack: true when the body breaks the broker.
    static func with(_ name: String, ownStack: Bool = false, _ body: (IngesterRig) async throws -> Void) async throws {
        let stack = ownStack ? try await LocalStack.start(name) : try await LocalStack.shared()
        do {
            let rig = try await IngesterRig(stack, name)
            do {
                try await body(rig)
            } catch {
                for process in rig.started { print("--- \(process.name)\n\(try process.logText().suffix(3000))") }
                await rig.stop()
                throw error
            }
            await rig.stop()
        } catch {
            if ownStack { try await stack.stop() }
            throw error
        }
        if ownStack { try await stack.stop() }
    }

    private init(_ stack: LocalStack, _ name: String) async throws {
        self.stack = stack
        databaseOf = try await stack.database("ingester")
        database = PostgresPool(databaseOf.owner, size: 2)
        tokens = try TokenKeys(Self.keys)
        webhook = try StandardWebhook(secrets: Self.secrets)
        do {
            try await stack.createTopics()
        } catch let error as KafkaError where error.code == .topicAlreadyExists {
        }
        let row = try await database.query(
            """
            WITH d AS (INSERT INTO district (district_id, name) VALUES (1, 'Testville') RETURNING district_id),
                 b AS (INSERT INTO blast (blast_id, district_id, subject, text_template, from_address, in_doubt_policy,
                                          state, send_requested_at, audience, created_by)
                       SELECT mint_blast_id(), district_id, 's', 't', 'a@b.example', 'at_most_once', 'sending', now(),
                              9, 'test' FROM d RETURNING blast_id, district_id)
            INSERT INTO blast_link SELECT blast_id, n, district_id, u FROM b, unnest($1::text[]) WITH ORDINALITY u(u, n)
            RETURNING blast_id
            """, [.textArray(Self.links)]
        ).first
        let id = try #require(row).uuid("blast_id")
        blast = BlastID(high: id.high, low: id.low)
    }

    private func stop() async {
        for process in started where process.isRunning { try? await process.kill() }
        await database.close()
    }

    @discardableResult
    func start(_ name: String = "only", _ more: [String: String] = [:]) async throws -> ServiceProcess {
        let process = try ServiceProcess(
            "event-ingester",
            environment: databaseOf.environment.merging([
                "ROLLCALL_INGESTER_LISTEN": "127.0.0.1:0", "ROLLCALL_TRACKING_QUIET_WINDOW": "300ms",
                "ROLLCALL_WEBHOOK_SECRETS": Self.secrets.joined(separator: ","),
                "ROLLCALL_TOKENS_KEYS": Self.keys.joined(separator: ","),
            ]) { $1 }.merging(more) { $1 }, folder: stack.stateFolder,
            name: "ingester-\(name)-\(UUID().uuidString.prefix(8))")
        started.append(process)
        let port = try await eventually("\(process.name) listens") {
            try process.logged("listening", "ingester.port")
        } until: {
            $0 != nil
        }
        url = "http://127.0.0.1:\(try #require(port))"
        return process
    }

    // MARK: Requests

    func token(_ purpose: LinkToken.Purpose, _ recipient: Int32, link: Int16 = 0) -> String {
        tokens.sign(
            LinkToken(
                purpose: purpose, district: DistrictID(1),
                delivery: DeliveryID(blast: blast, recipientNumber: recipient), link: link))
    }

    func request(_ method: String, _ path: String, _ headers: [String: String] = [:], body: String? = nil)
        async throws -> HTTP.Answer
    {
        try await HTTP.request(
            method, url + path, headers: ["User-Agent": Self.person].merging(headers) { $1 },
            body: body.map { Data($0.utf8) }, timeout: 60)
    }

    /// A click, seen as the answer to it and not as where it leads. A reader who is told that the link cannot be looked
    /// up in time tries again.
    func click(_ token: String, _ headers: [String: String] = [:], method: String = "GET") async throws -> HTTP.Answer {
        try await eventually("the link is looked up") {
            try await request(method, "/c/\(token)", headers)
        } until: {
            $0.status != 503
        }
    }

    func event(_ id: String, _ type: String, _ recipient: Int32, _ more: String = "") -> String {
        #"{"id":"\#(id)","type":"\#(type)","delivery":"\#(token(.delivery, recipient))","#
            + #""occurred_at":"2026-03-01T09:30:00Z"\#(more)}"#
    }

    func batch(_ events: [String]) -> String { #"{"events":[\#(events.joined(separator: ","))]}"# }

    func signed(_ body: String, at seconds: Int64 = Int64(Date().timeIntervalSince1970)) -> [String: String] {
        [
            "webhook-id": "msg-1", "webhook-timestamp": "\(seconds)", "Content-Type": "application/json",
            "webhook-signature": webhook.sign(id: "msg-1", timestampSeconds: seconds, body: Array(body.utf8)),
        ]
    }

    func post(_ events: [String]) async throws -> HTTP.Answer {
        let body = batch(events)
        return try await request("POST", "/webhooks/standard", signed(body), body: body)
    }

    // MARK: What came of it

    /// The events of this blast on the topic, which other tests share.
    func published() async throws -> [DeliveryEvent] {
        try await stack.readAll(.deliveryEvents).compactMap { record in
            guard record.key?.starts(with: blast.description.utf8) == true else { return nil }
            return try DeliveryEvent(value: record.value ?? [], header: record.header)
        }
    }

    func facts(of recipient: Int32) async throws -> DeliveryFacts {
        DeliveryFacts(try await published().filter { $0.delivery.recipientNumber == recipient }.map(\.fact))
    }

    func number(_ sql: String) async throws -> Int64 { try await database.query(sql).first?[0].optionalInt() ?? 0 }
}
