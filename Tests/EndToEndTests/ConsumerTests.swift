import Delivery
import Foundation
import TestKit
import Testing

/// Somebody else's program, which knows the topic and nothing of us.
@Suite(.serialized) struct `The consumer of the guide` {
    /// A child inherits the signals that the threads of Swift's tasks block, and this one has to hear SIGTERM.
    private static let unblocked = """
        import os, signal, sys
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execv(sys.executable, [sys.executable] + sys.argv[1:])
        """

    @Test func `keeps a correct copy though it is killed in the middle`() async throws {
        try await BlastRig.with("blast-consumer") { rig in
            let program = ProjectFolder.root.appending(path: "Tests/ContractsTests/consumer.py").path
            let copy = rig.stack.stateFolder.appending(path: "copy.db").path
            func start() throws -> ServiceProcess {
                try ServiceProcess(
                    executable: ProjectFolder.python,
                    arguments: [
                        "-c", Self.unblocked, program, "follow", copy, "downstream", rig.stack.kafkaBootstrap,
                        "session.timeout.ms=2000", "heartbeat.interval.ms=500",
                    ], environment: [:], folder: rig.stack.stateFolder, name: "downstream")
            }
            func copied() async throws -> [DeliveryID: Int64] {
                let result = try await TestKit.Command.run(ProjectFolder.python, [program, "print", copy])
                try #require(result.status == 0, "\(result.output)")
                var facts: [DeliveryID: Int64] = [:]
                for line in result.output.split(separator: "\n") {
                    let words = line.split(separator: " ")
                    let delivery = try #require(DeliveryID(String(words[0])))
                    let bits: Int64 = try #require(Int64(String(words[1])))
                    facts[delivery] = bits
                }
                return facts
            }

            let first = try start()
            defer { first.signal(9) }
            let list = Mailboxes.list(2000)
            let blast = try await rig.send(list, subject: "Book fair")
            _ = try await eventually("the copy has begun", within: .seconds(60), every: .milliseconds(200)) {
                try await copied().count
            } until: {
                $0 >= 100
            }
            try await first.kill()
            let settled = try await rig.settledCount(blast)
            #expect(settled < list.count, "the blast was over before the kill")
            try await rig.expectStatuses(of: blast, list)

            let second = try start()
            defer { second.signal(9) }
            _ = try await eventually("the copy equals the table", within: .seconds(60), every: .milliseconds(500)) {
                let copy = try await copied()
                var wrong: [String] = []
                let table = try await rig.facts(of: blast)
                for (number, facts) in table {
                    let known = copy[DeliveryID(blast: blast, recipientNumber: number)]
                    if known != facts.bits { wrong.append("\(number): \(known ?? 0) is not \(facts.bits)") }
                }
                if copy.count != table.count { wrong.append("\(copy.count) rows, the table has \(table.count)") }
                return Array(wrong.prefix(5))
            } until: {
                $0.isEmpty
            }
            #expect(try await second.terminate() == 0)
        }
    }
}
