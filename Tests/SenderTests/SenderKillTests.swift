import Contracts
import Delivery
import Foundation
import Kafka
import Postgres
import Runtime
import Signing
import TestKit
import Testing

@testable import sender

/// Steps of a hand-over at which a process may die, in their order, and how a test makes it die there.
enum SenderDeath: String, CaseIterable, Sendable {
    case afterClaim = "sender.after-claim"
    /// The attempts are on their way to the database, which writes them after the death.
    case duringWire = "wire"
    case afterWire = "sender.after-wire:2"
    case afterMail = "sender.after-mail:6"
    case afterRecipient = "sender.after-rcpt:6"
    case inData = "sender.in-data:6"
    case beforeDot = "sender.before-dot:6"
    case afterDot = "sender.after-dot:6"
    case afterReply = "sender.after-reply:6"
    /// The outcome is on its way to the database, which carries it out after the death.
    case duringCommit = "outcome"
    /// The same with WIRE of the messages that take the slots over.
    case duringTakeOver = "take-over"
    /// Outcomes are committed, their facts are nowhere but there; and the same once the broker has them.
    case beforeProduce = "sender.before-publish:2"
    case duringProduce = "sender.after-publish"
    case duringDrain = "sender.in-drain"
    case duringRenewal = "renewal"

    /// These need messages that stay on the wire for a while.
    var isSlow: Bool { [.duringCommit, .duringTakeOver, .duringDrain, .duringRenewal].contains(self) }
    /// The message at hand has been offered to the relay, so that nobody can know.
    var leavesDoubt: Bool { [.afterDot, .afterReply].contains(self) }

    func happen(to rig: SenderProcessRig) async throws {
        switch self {
        case .duringWire:
            try await rig.dispatch.owner.withTransaction { connection in
                _ = try await connection.query("LOCK TABLE content_claim IN SHARE MODE")
                let process = try rig.start()
                try await rig.waitsForRow(in: "WITH gate")
                try await process.kill()
            }
        case .duringCommit:
            let process = try rig.start()
            try await rig.dispatch.owner.withTransaction { connection in
                try await eventually("rows on the wire are held", within: .seconds(120)) {
                    try await !connection.query("SELECT FROM attempt WHERE state = 'wire' FOR UPDATE SKIP LOCKED")
                        .isEmpty
                }
                try await rig.waitsForRow(in: "WITH outcome")
                try await process.kill()
            }
        case .duringTakeOver:
            let process = try rig.start()
            try await onTheWire(rig)
            try await rig.dispatch.owner.withTransaction { connection in
                _ = try await connection.query("LOCK TABLE content_claim IN SHARE MODE")
                // Accepted outcomes alone have no business there.
                try await rig.waitsForRow(in: "WITH outcome")
                try await process.kill()
            }
        case .duringRenewal:
            let process = try rig.start()
            try await onTheWire(rig)
            try await rig.dispatch.owner.withTransaction { connection in
                _ = try await connection.query("SELECT FROM sender_lease FOR UPDATE")
                try await rig.waitsForRow(in: "UPDATE sender_lease")
                try await process.kill()
            }
        case .duringDrain:
            let process = try rig.start(["ROLLCALL_FAULT_POINT": rawValue])
            try await onTheWire(rig)
            #expect(try await process.terminate() == 9, "\(rawValue)")
        default:
            let process = try rig.start(["ROLLCALL_FAULT_POINT": rawValue])
            #expect(try await process.ended(within: .seconds(120)) == 9, "\(rawValue)")
        }
    }

    private func onTheWire(_ rig: SenderProcessRig) async throws {
        try await eventually("messages are on the wire", within: .seconds(120)) {
            try await rig.count("SELECT count(*) AS n FROM attempt WHERE state = 'wire'") > 0
        }
    }
}

/// Real processes against a receiving side that records on disk what it took.
@Suite(.serialized, .timeLimit(.minutes(5))) struct `A sender as a process` {
    private struct Outcome: Sendable {
        let once: BlastID
        let least: BlastID
        let doubted: Int64
        let resent: Int64
        let unknown: Set<Int32>
        let factIDs: Set<String>
    }

    private static let audience = 24

    @Test
    func `killed at any step of a hand-over loses nothing, repeats only what was declared, and leaves few in doubt`()
        async throws
    {
        try await LocalStack.with("sender-kills") { stack, processes in
            let witness = stack.stateFolder.appending(path: "witness.ndjson")
            let port = try FreePort.take()
            let simulator = processes.keep(
                try ServiceProcess(
                    "mailbox-simulator",
                    arguments: [
                        "--smtp-listen", "127.0.0.1:\(port)", "--http-listen", "127.0.0.1:\(try FreePort.take())",
                        "--witness", witness.path, "--slow-ms", "400",
                    ], environment: stack.environment, folder: stack.stateFolder))
            let outcomes = try await withThrowingTaskGroup(of: (SenderDeath, Outcome).self) { group in
                for death in SenderDeath.allCases {
                    group.addTask { (death, try await Self.die(death, on: stack, processes, smtpPort: port)) }
                }
                return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
            }
            let accepted = try Self.acceptances(witness)
            let reported = Set(
                try await stack.readAll(.deliveryEvents).map {
                    try DeliveryEvent(value: $0.value ?? [], header: $0.header).id
                })
            for death in SenderDeath.allCases {
                let outcome = try #require(outcomes[death])
                Self.expect(death, outcome, accepted)
                #expect(outcome.factIDs.isSubset(of: reported), "\(death): a fact never reached the topic")
            }
            #expect(try await simulator.terminate() == 0)
        }
    }

    /// Dies, comes back, and waits until everybody is accounted for.
    private static func die(
        _ death: SenderDeath, on stack: LocalStack, _ processes: StartedProcesses, smtpPort: Int
    ) async throws -> Outcome {
        let rig = try await SenderProcessRig.make("\(death)".lowercased(), on: stack, processes, smtpPort: smtpPort)
        let word = death.isSlow ? "slow" : "success"
        let once = try await rig.dispatch.blast((1...audience).map { "\(word)-\($0)@once.example" })
        let least = try await rig.dispatch.blast(
            (1...audience).map { "\(word)-\($0)@least.example" }, policy: "at_least_once")
        try await death.happen(to: rig)
        let heir = try rig.start()
        try await rig.settled()
        #expect(try await heir.terminate() == 0)
        let attempts = try await rig.dispatch.owner.query(
            "SELECT blast_id, recipient_no, attempt_no, state, fact FROM attempt")
        var (unknown, factIDs): (Set<Int32>, Set<String>) = ([], [])
        for row in attempts {
            let (blast, number) = (try row.blastID("blast_id"), try row.int32("recipient_no"))
            if try row.string("state") == "unknown", blast == once { unknown.insert(number) }
            if let fact = try row.optionalInt("fact") {
                factIDs.insert("sender/\(blast)/\(number)/\(try row.int32("attempt_no"))/\(fact)")
            }
        }
        let outcome = Outcome(
            once: once, least: least,
            doubted: try await rig.count("SELECT count(*) AS n FROM attempt WHERE state IN ('unknown', 'resend')"),
            resent: try await rig.count("SELECT count(*) AS n FROM attempt WHERE state = 'resend'"), unknown: unknown,
            factIDs: factIDs)
        let open = try await rig.count(
            """
            SELECT count(*) AS n FROM recipient r
             WHERE NOT EXISTS (SELECT FROM attempt a WHERE a.blast_id = r.blast_id AND a.recipient_no = r.recipient_no
                                  AND a.state IN ('accepted', 'unknown'))
            """)
        #expect(open == 0, "\(death): recipients without an end")
        await rig.dispatch.close()
        return outcome
    }

    private static func expect(_ death: SenderDeath, _ outcome: Outcome, _ accepted: [DeliveryID: Int]) {
        func times(_ blast: BlastID) -> [Int] {
            (1...audience).map { accepted[DeliveryID(blast: blast, recipientNumber: Int32($0))] ?? 0 }
        }
        #expect(outcome.doubted <= SenderProcessRig.connections, "\(death)")
        if death == .afterClaim { #expect(outcome.doubted == 0) }
        if death.leavesDoubt { #expect(outcome.doubted >= 1, "\(death)") }
        let repeats = times(outcome.least).map { $0 - 1 }
        print("\(death): in doubt \(outcome.doubted), sent again \(outcome.resent), twice \(repeats.reduce(0, +))")
        #expect(repeats.allSatisfy { $0 >= 0 }, "\(death): lost")
        #expect(repeats.reduce(0, +) <= outcome.resent, "\(death): more came twice than was declared")
        for (index, count) in times(outcome.once).enumerated() {
            #expect(count <= 1, "\(death): twice")
            #expect(count == 1 || outcome.unknown.contains(Int32(index + 1)), "\(death): lost in silence")
        }
    }

    private static func acceptances(_ witness: URL) throws -> [DeliveryID: Int] {
        let keys = try TokenKeys([SenderProcessRig.tokens])
        var accepted: [DeliveryID: Int] = [:]
        for line in try String(contentsOf: witness, encoding: .utf8).split(separator: "\n") {
            let record = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            let token = try #require(record["delivery"] as? String)
            accepted[try #require(keys.verify(token)).delivery, default: 0] += 1
        }
        return accepted
    }

    @Test func `stopped between WIRE and the final dot, and waking up late, writes no dot and says so`() async throws {
        try await LocalStack.with("sender-stop") { stack, processes in
            let relay = try await HeldRelay()
            let rig = try await SenderProcessRig.make(
                "stopped", on: stack, processes, smtpPort: relay.port,
                ["ROLLCALL_SMTP_DOT_DEADLINE": "5s", "ROLLCALL_SENDER_INDOUBT_AFTER": "5m"])
            let blast = try await rig.dispatch.blast(["a@families.example"])
            let sleeper = try rig.start()
            try await eventually("the relay is asked for DATA", within: .seconds(60)) { relay.state.waiting.count == 1 }
            try await sleeper.suspend()
            relay.goOn()
            let other = try rig.start()
            try await eventually("somebody else finds the message in doubt", within: .seconds(60)) {
                try await rig.dispatch.attempts(blast) == ["1/1 in_doubt 18"]
            }
            #expect(relay.state.dots == 0)
            sleeper.signal(SIGCONT)
            try await rig.settled()
            #expect(try await rig.dispatch.attempts(blast) == ["1/1 deferred 4", "1/2 accepted 20"])
            let reply = try await rig.dispatch.owner.query("SELECT reply FROM attempt WHERE attempt_no = 1")
            #expect(try reply[0].string("reply").contains("before the final dot"))
            #expect(relay.state.dots == 1 && relay.state.brokenOff == 1)
            for process in [sleeper, other] { #expect(try await process.terminate() == 0) }
            await rig.dispatch.close()
            try await relay.stop()
        }
    }
}
