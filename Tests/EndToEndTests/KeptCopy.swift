import Contracts
import Delivery
import Foundation
import Postgres
import TestKit
import Testing

/// A copy of the statuses that one of the guide's consumers keeps: somebody else's program, which knows the topics and
/// nothing of us.
struct KeptCopy: Sendable {
    enum Keeper: Sendable {
        case python(file: String)
        case swift(TestDatabase)
    }

    let name: String
    let keeper: Keeper
    private let stack: LocalStack

    /// One copy of each consumer.
    static func both(_ name: String, on stack: LocalStack) async throws -> [KeptCopy] {
        [
            KeptCopy(
                name: "\(name)-python", keeper: .python(file: stack.stateFolder.appending(path: "\(name).db").path),
                stack: stack),
            KeptCopy(name: "\(name)-swift", keeper: .swift(try await stack.database("copy")), stack: stack),
        ]
    }

    private static let consumer = ProjectFolder.root.appending(path: "Tests/ContractsTests/consumer.py").path
    /// A child inherits the signals that the threads of Swift's tasks block, and this one has to hear SIGTERM.
    private static let unblocked = """
        import os, signal, sys
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execv(sys.executable, [sys.executable] + sys.argv[1:])
        """
    private static let session = ["session.timeout.ms=2000", "heartbeat.interval.ms=500"]

    /// Starts a member of this copy's group.
    func follow(as member: String) throws -> ServiceProcess {
        switch keeper {
        case .python(let file):
            return try ServiceProcess(
                executable: ProjectFolder.python,
                arguments: ["-c", Self.unblocked, Self.consumer, "follow", file, name, stack.kafkaBootstrap]
                    + Self.session, environment: [:], folder: stack.stateFolder, name: "\(name)-\(member)")
        case .swift(let database):
            return try ServiceProcess(
                "status-consumer",
                arguments: ["follow", "--group", name, "--bootstrap", stack.kafkaBootstrap]
                    + place(database) + Self.session.flatMap { ["--property", $0] },
                environment: ["PGPASSWORD": database.owner.password], folder: stack.stateFolder,
                name: "\(name)-\(member)")
        }
    }

    func load(_ snapshot: URL) async throws { _ = try await run("load", input: snapshot) }

    func rewind() async throws { _ = try await run("rewind") }

    /// What nobody should do: the copy loses rows and does not know it.
    func loseHalf() async throws {
        switch keeper {
        case .python(let file):
            let program = """
                import sqlite3, sys
                with sqlite3.connect(sys.argv[1], timeout=60) as copy:
                    copy.execute("DELETE FROM delivery WHERE rowid % 2 = 0")
                """
            let result = try await TestKit.Command.run(ProjectFolder.python, ["-c", program, file])
            try #require(result.status == 0, "\(result.output)")
        case .swift(let database):
            let pool = PostgresPool(database.owner, size: 1)
            _ = try await pool.query("DELETE FROM public.delivery WHERE recipient_no % 2 = 0")
            await pool.close()
        }
    }

    func states() async throws -> [DeliveryID: KeptState] {
        var states: [DeliveryID: KeptState] = [:]
        for line in try await run("print").split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            try #require(words.count == 4, "\(line)")
            states[try #require(DeliveryID(words[0]))] = KeptState(
                facts: try #require(Int64(words[1])), version: try #require(Int(words[2])),
                seq: try #require(Int64(words[3])))
        }
        return states
    }

    private func place(_ database: TestDatabase) -> [String] {
        let owner = database.owner
        return [
            "--host", owner.host, "--port", "\(owner.port)", "--database", owner.database, "--user", owner.user,
        ]
    }

    private func run(_ command: String, input: URL = URL(filePath: "/dev/null")) async throws -> String {
        let words: [String]
        var environment: [String: String] = [:]
        switch keeper {
        case .python(let file): words = [ProjectFolder.python.path, Self.consumer, command, file]
        case .swift(let database):
            words = [ProjectFolder.program("status-consumer").path, command] + place(database)
            environment["PGPASSWORD"] = database.owner.password
        }
        let result = try await TestKit.Command.run(
            URL(filePath: "/bin/sh"), ["-c", #"input=$1; shift; exec "$@" <"$input""#, "sh", input.path] + words,
            environment: environment)
        try #require(result.status == 0, "\(name) \(command): \(result.output)")
        return result.output
    }
}

/// What a copy knows of a delivery.
struct KeptState: Sendable, Hashable {
    let facts: Int64
    let version: Int
    let seq: Int64
}

extension BlastRig {
    /// Waits until the copies hold exactly this.
    func expect(
        _ copies: [KeptCopy], within deadline: Duration = .seconds(240),
        toHold wanted: () async throws -> [DeliveryID: KeptState]
    ) async throws {
        _ = try await eventually("every copy equals the table", within: deadline, every: .milliseconds(500)) {
            let table = try await wanted()
            var wrong: [String] = []
            for copy in copies {
                let kept = try await copy.states()
                let different = Set(kept.keys).union(table.keys).filter { kept[$0] != table[$0] }
                if let one = different.min() {
                    wrong.append(
                        "\(copy.name): \(different.count) differ, \(one): \(kept[one] as Any) is not \(table[one] as Any)"
                    )
                }
            }
            return wrong
        } until: {
            $0.isEmpty
        }
    }

    /// The table, as deliveries with news.
    func table(of blast: BlastID) async throws -> [DeliveryID: KeptState] {
        var table: [DeliveryID: KeptState] = [:]
        for row in try await database.query(
            """
            SELECT recipient_no, facts, last_seq FROM delivery_status WHERE blast_id = $1 AND last_seq IS NOT NULL
            """, [.uuid(high: blast.high, low: blast.low)])
        {
            let facts = DeliveryFacts(bits: try row.int("facts"))
            table[DeliveryID(blast: blast, recipientNumber: try row.int32("recipient_no"))] = KeptState(
                facts: facts.bits, version: facts.version, seq: try row.int("last_seq"))
        }
        return table
    }

    /// A snapshot of one blast holds what the topic holds of it, with the list's references and from version 0.
    func expectSnapshotIsTheTopic(_ blast: BlastID, deliveries: Int) async throws {
        // News may come between the two.
        _ = try await eventually("a snapshot of the blast is what the topic has of it", every: .seconds(1)) {
            let text = try String(contentsOf: try await snapshot(["--blast", "\(blast)"]), encoding: .utf8)
            let lines = text.split(separator: "\n").dropFirst().dropLast()
            #expect(lines.count == deliveries)
            let topic = try StatusTopicView(try await stack.readAll(.deliveryStatus)).latest
            return try lines.filter { line in
                let record = try DeliveryStatusRecord(value: Array(line.utf8))
                #expect(record.personReference == "f\(record.delivery.recipientNumber)")
                let latest = try #require(topic[record.delivery])
                let whole = DeliveryStatusRecord(
                    delivery: latest.delivery, district: latest.district, facts: latest.facts, versionFrom: 0,
                    incarnation: latest.incarnation, seq: latest.seq, attempts: latest.attempts,
                    lastAttemptAtMicroseconds: latest.lastAttemptAtMicroseconds, response: latest.response,
                    changedAtMicroseconds: latest.changedAtMicroseconds, eventID: latest.eventID,
                    personReference: latest.personReference)
                return record != whole
            }
        } until: {
            $0.isEmpty
        }
        let refused = try await TestKit.Command.run(
            ProjectFolder.program("rollcall"), ["snapshot", "--blast", "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2d"],
            environment: databaseOf.environment.filter { $0.key != "ROLLCALL_STATE" })
        #expect(refused.status == 1 && refused.output.contains("there is no blast"), "\(refused.output)")
    }

    /// What `rollcall snapshot` writes now.
    func snapshot(_ arguments: [String] = []) async throws -> URL {
        let file = stack.stateFolder.appending(path: "snapshot-\(UUID().uuidString.prefix(8)).ndjson")
        let words = [ProjectFolder.program("rollcall").path, "snapshot"] + arguments
        let result = try await TestKit.Command.run(
            URL(filePath: "/bin/sh"), ["-c", #"output=$1; shift; exec "$@" >"$output""#, "sh", file.path] + words,
            environment: databaseOf.environment.filter { $0.key != "ROLLCALL_STATE" })
        try #require(result.status == 0, "\(result.output)")
        return file
    }
}
