import Contracts
import Delivery
import Foundation
import Kafka
import Postgres
import Signing
import TestKit
import Testing

/// The whole system as separate processes on a stack of its own, with the mailbox simulator as the world outside.
final class BlastRig {
    static let services = ["sender", "blacklist-guard", "status-projector", "event-ingester", "report-api"]

    let stack: LocalStack
    let databaseOf: TestDatabase
    let database: PostgresPool
    let witness: URL
    let apiKey: String
    private let ports: [String: Int]
    private let variables: [String: String]
    private(set) var processes: [String: ServiceProcess] = [:]
    private var all: [ServiceProcess] = []

    static func with(_ name: String, _ variables: [String: String] = [:], _ body: (BlastRig) async throws -> Void)
        async throws
    {
        let stack = try await LocalStack.start(name)
        do {
            let rig = try await BlastRig(stack, variables)
            do {
                try await rig.startEverything()
                try await body(rig)
                await rig.stop()
            } catch {
                rig.printLogs()
                await rig.stop()
                throw error
            }
        } catch {
            try await stack.stop()
            throw error
        }
        try await stack.stop()
    }

    private init(_ stack: LocalStack, _ variables: [String: String]) async throws {
        self.stack = stack
        databaseOf = try await stack.database("blasts")
        database = PostgresPool(databaseOf.owner, size: 2)
        witness = stack.stateFolder.appending(path: "witness.ndjson")
        var ports: [String: Int] = [:]
        for name in ["sender", "ingester", "report", "smtp", "simulator"] { ports[name] = try FreePort.take() }
        self.ports = ports
        let secret = "whsec_" + Data((0..<32).map { UInt8($0) }).base64EncodedString()
        self.variables = databaseOf.environment.merging([
            "ROLLCALL_KAFKA_CLIENT_OVERRIDES": "session.timeout.ms=2000,heartbeat.interval.ms=500",
            "ROLLCALL_TOKENS_KEYS": "1:" + String(repeating: "5a", count: 32), "ROLLCALL_WEBHOOK_SECRETS": secret,
            "ROLLCALL_PUBLIC_URL": "http://127.0.0.1:\(ports["ingester"] ?? 0)",
            "ROLLCALL_SENDER_LISTEN": "127.0.0.1:\(ports["sender"] ?? 0)",
            "ROLLCALL_INGESTER_LISTEN": "127.0.0.1:\(ports["ingester"] ?? 0)",
            "ROLLCALL_REPORT_LISTEN": "127.0.0.1:\(ports["report"] ?? 0)",
            "ROLLCALL_REPORT_SESSION_SECRET": String(repeating: "6b", count: 32),
            "ROLLCALL_SMTP_PORT": "\(ports["smtp"] ?? 0)", "ROLLCALL_SMTP_CONNECTIONS": "10",
            "ROLLCALL_SENDER_CHUNK_SIZE": "100", "ROLLCALL_SENDER_WINDOW": "25", "ROLLCALL_SENDER_LEASE": "5s",
            "ROLLCALL_SENDER_RETRY_SCHEDULE": "1s,1s,1s,1s", "ROLLCALL_SENDER_INDOUBT_AFTER": "20s",
            "ROLLCALL_SMTP_REPLY_TIMEOUT": "10s",
            "ROLLCALL_SENDER_BREAKER_SHARE": "100",
            "ROLLCALL_TRACKING_QUIET_WINDOW": "1s", "ROLLCALL_PROJECTOR_CLUSTER_CHECK": "500ms",
            "ROLLCALL_GUARD_CLUSTER_CHECK": "500ms",
        ]) { $1 }.merging(variables) { $1 }
        let key = try #require(APIKey.generate())
        apiKey = key.text
        _ = try await database.query(
            "INSERT INTO district (district_id, name, vocabulary) VALUES (1, 'Springfield', 'iclasspro')")
        _ = try await database.query(
            "INSERT INTO api_key (key_id, district_id, secret_sha256, scopes, label) VALUES ($1, 1, $2, $3, 'test')",
            [.text(key.key.id), .bytes(key.key.secretSHA256), .textArray(["send", "read", "admin"])])
        try await stack.createTopics()
    }

    // MARK: Processes

    private func startEverything() async throws {
        try startSimulator()
        for service in Self.services { try start(service) }
        for service in Self.services { try await ready(service) }
    }

    func startSimulator() throws {
        let process = try ServiceProcess(
            "mailbox-simulator",
            arguments: [
                "--smtp-listen", "127.0.0.1:\(ports["smtp"] ?? 0)", "--http-listen",
                "127.0.0.1:\(ports["simulator"] ?? 0)", "--witness", witness.path, "--webhook-url",
                "http://127.0.0.1:\(ports["ingester"] ?? 0)/webhooks/standard", "--webhook-secret",
                variables["ROLLCALL_WEBHOOK_SECRETS"] ?? "", "--slow-ms", "500", "--delayed-delay-ms", "1000",
                "--duplicate-share", "0.1", "--shuffle", "--click-delay-ms", "2500",
            ], environment: stack.environment, folder: stack.stateFolder)
        processes["mailbox-simulator"] = process
        all.append(process)
    }

    /// Starts a service, under its own name or as another instance of it.
    @discardableResult
    func start(_ service: String, as name: String? = nil, _ more: [String: String] = [:]) throws -> ServiceProcess {
        var environment = variables.merging(more) { $1 }
        if name != nil { environment["ROLLCALL_SENDER_LISTEN"] = "127.0.0.1:\(try FreePort.take())" }
        let process = try ServiceProcess(
            service, environment: environment, folder: stack.stateFolder, name: name ?? service)
        processes[name ?? service] = process
        all.append(process)
        return process
    }

    /// Somebody else's programs: what they wrote is shown as well when a test fails.
    func watch(_ others: [ServiceProcess]) { all += others }

    func process(_ name: String) throws -> ServiceProcess { try #require(processes[name], "\(name) was never started") }

    func ready(_ name: String) async throws {
        let process = try process(name)
        let port = try await eventually("\(name) listens") {
            guard process.isRunning else { throw TestKitError("\(name) ended with \(process.exitStatus ?? -1)") }
            return try process.logged("listening", "admin.port")
        } until: {
            $0 != nil
        }
        _ = try await eventually("\(name) is ready") {
            try await HTTP.request("GET", "http://127.0.0.1:\(port ?? "0")/readyz").text
        } until: {
            !$0.contains("check")
        }
    }

    /// An armed process that finds work left over dies before it is ready.
    func readyOrEnded(_ name: String) async throws {
        let process = try process(name)
        do { try await ready(name) } catch {
            if process.isRunning { throw error }
        }
    }

    /// SIGKILL and start again.
    func killAndRestart(_ name: String) async throws {
        try await process(name).kill()
        try start(name)
    }

    private func stop() async {
        for process in all where process.isRunning { process.signal(15) }
        for process in all { _ = try? await process.ended(within: .seconds(30)) }
        for process in all where process.isRunning { try? await process.kill() }
        await database.close()
    }

    private func printLogs() {
        for process in all {
            let lines = ((try? process.logText()) ?? "").split(separator: "\n").filter {
                !$0.contains("\"level\":\"info\"")
            }
            print("--- \(process.name): \(process.isRunning ? "running" : "ended \(process.exitStatus ?? -1)")")
            for line in lines.suffix(15) { print(line.prefix(600)) }
        }
    }

    // MARK: The public API

    func url(_ service: String = "sender") -> String { "http://127.0.0.1:\(ports[service] ?? 0)" }

    /// The personal link of a recipient, as it stands in the message.
    func token(_ purpose: LinkToken.Purpose, _ blast: BlastID, _ recipient: Int32) throws -> String {
        try TokenKeys([variables["ROLLCALL_TOKENS_KEYS"] ?? ""]).sign(
            LinkToken(
                purpose: purpose, district: DistrictID(1),
                delivery: DeliveryID(blast: blast, recipientNumber: recipient)))
    }

    func call(
        _ method: String, _ path: String, _ service: String = "sender", type: String = "application/json",
        headers: [String: String] = [:], body: Data? = nil
    ) async throws -> HTTP.Answer {
        try await HTTP.request(
            method, "http://127.0.0.1:\(ports[service] ?? 0)\(path)",
            headers: ["Authorization": "Bearer \(apiKey)", "Content-Type": type].merging(headers) { $1 }, body: body)
    }

    /// Draft, list, send: the way a district does it.
    func send(
        _ list: [ListedRecipient], subject: String, class: String = "general", policy: String = "at_least_once",
        key: String? = nil
    ) async throws -> BlastID {
        let caller = ["Authorization": "Bearer \(key ?? apiKey)"]
        let html = """
            <html><body><p>Dear {{name}},</p><p><a href="https://school.example/menu">This week's menu</a> and the
            <a href="https://school.example/calendar">calendar</a>.</p></body></html>
            """
        let draft: [String: Any] = [
            "subject": subject, "html": html, "text": "Dear {{name}}, see https://school.example/menu",
            "from": ["address": "office@school.example", "name": "Springfield Elementary"], "class": `class`,
            "in_doubt_policy": policy,
        ]
        let created = try await call(
            "POST", "/v1/blasts", headers: caller, body: try JSONSerialization.data(withJSONObject: draft))
        try #require(created.status == 201, "\(created.text)")
        let id = try #require((try created.json()["blast_id"] as? String).flatMap(BlastID.init))
        let rows = list.enumerated().map { "\($0.element.address),Family \($0.offset + 1),f\($0.offset + 1)\r\n" }
        let csv = "email,name,person_ref\r\n" + rows.joined()
        let uploaded = try await call(
            "PUT", "/v1/blasts/\(id)/recipients", type: "text/csv; charset=utf-8", headers: caller, body: Data(csv.utf8)
        )
        try #require(uploaded.status == 200, "\(uploaded.text)")
        #expect(try uploaded.json()["audience"] as? Int == list.count)
        let sent = try await order(id, caller)
        try #require((200...202).contains(sent.status), "\(sent.text)")
        return id
    }

    /// Said again, with its key, to the next sender where an armed one died before it answered.
    private func order(_ id: BlastID, _ caller: [String: String]) async throws -> HTTP.Answer {
        func ask() async throws -> HTTP.Answer {
            try await call(
                "POST", "/v1/blasts/\(id)/send", headers: caller.merging(["Idempotency-Key": "send-\(id)"]) { $1 },
                body: Data("{}".utf8))
        }
        let asked = try process("sender")
        do { return try await ask() } catch {
            guard (try? await asked.ended(within: .seconds(10))) != nil else { throw error }
        }
        try start("sender")
        try await ready("sender")
        return try await ask()
    }

    // MARK: What came of it

    func facts(of blast: BlastID) async throws -> [Int32: DeliveryFacts] {
        var facts: [Int32: DeliveryFacts] = [:]
        for row in try await database.query(
            "SELECT recipient_no, facts FROM delivery_status WHERE blast_id = $1",
            [.uuid(high: blast.high, low: blast.low)])
        {
            facts[try row.int32("recipient_no")] = DeliveryFacts(bits: try row.int("facts"))
        }
        return facts
    }

    /// Deliveries for which nothing more is expected.
    func settledCount(_ blast: BlastID) async throws -> Int64 {
        try await database.query(
            "SELECT count(*) AS n FROM delivery_status WHERE blast_id = $1 AND facts & $2 <> 0",
            [.uuid(high: blast.high, low: blast.low), .int(DeliveryFacts.finalMask.bits)]
        ).first?.int("n") ?? 0
    }

    /// Waits until every recipient has the status that its behaviour implies.
    func expectStatuses(of blast: BlastID, _ list: [ListedRecipient], within deadline: Duration = .seconds(400))
        async throws
    {
        _ = try await eventually("every status is the one its behaviour implies", within: deadline, every: .seconds(1))
        {
            let facts = try await facts(of: blast)
            var wrong = list.enumerated().compactMap { index, recipient -> String? in
                let known = facts[Int32(index + 1)] ?? DeliveryFacts(bits: 0)
                return recipient.isMet(by: known) ? nil : "\(recipient.address): \(known.names.joined(separator: "+"))"
            }
            let state = try await database.query(
                "SELECT state FROM blast WHERE blast_id = $1", [.uuid(high: blast.high, low: blast.low)])
            if try state.first?.string("state") != "sent" { wrong.append("the blast is not sent") }
            return wrong.count > 8 ? wrong.prefix(8) + ["… \(wrong.count) in all"] : wrong
        } until: {
            $0.isEmpty
        }
    }

    /// Acceptances the outside world recorded, by the delivery they were for.
    func acceptances() throws -> [DeliveryID: Int] {
        try acceptedInOrder().reduce(into: [:]) { $0[$1, default: 0] += 1 }
    }

    func acceptedInOrder() throws -> [DeliveryID] {
        let keys = try TokenKeys([variables["ROLLCALL_TOKENS_KEYS"] ?? ""])
        return try witness.wholeLines().map { line in
            let record = try #require(try JSONSerialization.jsonObject(with: line) as? [String: Any])
            let token = try #require(record["delivery"] as? String)
            return try #require(keys.verify(token)).delivery
        }
    }

    /// Runs the operator's tool against this stack.
    func rollcall(_ arguments: String...) async throws -> TestKit.Command.Result {
        try await TestKit.Command.run(ProjectFolder.program("rollcall"), arguments, environment: toolEnvironment)
    }

    var toolEnvironment: [String: String] {
        variables.filter { $0.key != "ROLLCALL_STATE" }.merging([
            "ROLLCALL_SENDER_URL": url(), "ROLLCALL_REPORT_URL": url("report"), "ROLLCALL_API_KEY": apiKey,
        ]) { $1 }
    }

    /// Everyone who should have got the message got it, nobody else did, and at most `extra` messages came twice.
    func expectAcceptances(of blast: BlastID, _ list: [ListedRecipient], extra: Int) throws {
        let accepted = try acceptances()
        var repeats = 0
        for (index, recipient) in list.enumerated() {
            let count = accepted[DeliveryID(blast: blast, recipientNumber: Int32(index + 1))] ?? 0
            if recipient.isAccepted {
                #expect(count >= 1, "\(recipient.address) was lost")
                repeats += max(0, count - 1)
            } else {
                #expect(count == 0, "\(recipient.address) got \(count)")
            }
        }
        print("messages accepted twice: \(repeats), declared at most \(extra)")
        #expect(repeats <= extra)
    }

    /// The topic's newest value of every delivery is the table's, and first appearances were in order without gaps.
    func expectTopicAgrees(with blast: BlastID) async throws {
        _ = try await eventually("the topic agrees with the table", every: .seconds(1)) {
            let view = try StatusTopicView(try await stack.readAll(.deliveryStatus))
            var wrong = view.faults
            for (number, facts) in try await facts(of: blast) {
                let latest = view.latest[DeliveryID(blast: blast, recipientNumber: number)]
                if latest?.facts != facts {
                    wrong.append("\(number): \(latest?.facts.names ?? []) is not \(facts.names)")
                }
            }
            return Array(wrong.prefix(5))
        } until: {
            $0.isEmpty
        }
    }

    /// Counts in every vocabulary sum to the audience, through the API that staff use.
    func expectCounts(of blast: BlastID, audience: Int) async throws {
        for vocabulary in StatusVocabulary.all {
            let answer = try await call("GET", "/v1/blasts/\(blast)/counts?vocabulary=\(vocabulary.name)", "report")
            try #require(answer.status == 200, "\(answer.text)")
            let counts = try #require(try answer.json()["words"] as? [[String: Any]])
            #expect(counts.compactMap { $0["n"] as? Int }.reduce(0, +) == audience, "\(vocabulary.name)")
        }
    }

    func expectCleanAudit() async throws {
        let audit = try await rollcall("audit")
        #expect(audit.status == 0, "\(audit.output)")
    }
}
