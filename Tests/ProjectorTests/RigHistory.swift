import Contracts
import Delivery
import Foundation
import Postgres
import TestKit
import Testing

/// Long random histories through real processes, and what the reference says about them.
extension ProjectorRig {
    /// A blast, and a history of its deliveries of which a tenth cannot be folded.
    func insertHistory(seed: Int, recipients: Int32, records: Int) async throws -> HistoryCase {
        try await insertBlast(recipients: recipients)
        return try await Reference.history(seed: seed, recipients: Int(recipients), records: records)
    }

    /// The tables say what the independent fold says, every promise about them holds, and the topic tells the same.
    func expectTables(agreeWith history: HistoryCase) async throws {
        let seed: Comment = "ROLLCALL_TEST_SEED=\(history.seed)"
        let tables = HistoryTables(owner: database)
        try await tables.tell(history, blast)
        let hashes = try await tables.hashes()
        #expect(hashes[HistoryTables.Told(seed: history.seed, order: 0)]?.state == history.state, seed)
        #expect(try await tables.violations() == [:], seed)
        let restarts = try await database.query("SELECT part, reason FROM projector_incident").map {
            "\(try $0.int("part")): \(try $0.string("reason"))"
        }
        #expect(restarts == [], seed)
        let parked = try await number("SELECT count(*) FROM dead_letter")
        #expect(parked == history.dead, seed)
        let late = try await number("SELECT count(*) FROM late_event")
        #expect(late == history.late, seed)
        try await expectNoGap()
        try await expectTopicAgrees()
    }

    /// Sequence numbers of a partition are 1, 2, 3 … and end where the fence says.
    func expectNoGap() async throws {
        let gaps = try await number(
            """
            SELECT count(*) FROM projector_partition p
              FULL JOIN (SELECT part, count(*) AS n, max(seq) AS last FROM delivery_log GROUP BY part) l USING (part)
             WHERE p.seq IS DISTINCT FROM coalesce(l.n, 0) OR p.seq <> coalesce(l.last, 0)
            """)
        #expect(gaps == 0, "the log of some partition has a gap")
    }

    /// The newest record of every delivery on the status topic is its row, and first appearances were in order.
    func expectTopicAgrees() async throws {
        let view = try StatusTopicView(try await stack.readAll(.deliveryStatus))
        #expect(view.faults.isEmpty, "\(view.faults.prefix(5))")
        let rows = try await database.query(
            "SELECT blast_id, recipient_no, facts, attempts, last_seq FROM delivery_status WHERE last_seq IS NOT NULL")
        #expect(rows.count == view.latest.count)
        for row in rows {
            let blast = try row.uuid("blast_id")
            let delivery = DeliveryID(
                blast: BlastID(high: blast.high, low: blast.low), recipientNumber: try row.int32("recipient_no"))
            let latest = view.latest[delivery]
            #expect(latest?.facts.bits == (try row.int("facts")), "\(delivery)")
            #expect(latest?.seq == (try row.int("last_seq")), "\(delivery)")
            #expect(latest?.attempts == (try row.int32("attempts")), "\(delivery)")
        }
    }

    /// The value of a metric of a process, summed over its labels; 0 before the process has said anything.
    func metric(_ name: String, of process: ServiceProcess) async throws -> Double {
        let port = try await eventually("\(process.name) listens") {
            try process.logged("listening", "admin.port")
        } until: {
            $0 != nil
        }
        let text = try await HTTP.request("GET", "http://127.0.0.1:\(port ?? "")/metrics").text
        return text.split(separator: "\n").filter { $0.hasPrefix("\(name) ") || $0.hasPrefix("\(name){") }
            .compactMap { $0.split(separator: " ").last.flatMap { Double($0) } }.reduce(0, +)
    }

    /// Does to topics what no service may do: see `topics.py`.
    func topics(_ arguments: [String], input: URL = URL(filePath: "/dev/null")) async throws {
        let script = ProjectFolder.root.appending(path: "Tests/ProjectorTests/topics.py").path
        let result = try await Command.run(
            URL(filePath: "/bin/sh"),
            [
                "-c", #"in=$1; shift; exec "$@" <"$in""#, "sh", input.path, ProjectFolder.python.path, script,
                stack.kafkaBootstrap,
            ] + arguments)
        guard result.status == 0 else { throw TestKitError("topics.py \(arguments): \(result.output)") }
    }
}
