import Contracts
import Delivery
import Foundation
import Kafka
import Postgres
import TestKit
import Testing

/// The event history projected twice, with the real tool, projector, broker and database.
@Suite(.serialized) struct `A second projection` {
    @Test func `killed in the middle and resumed, equals the live one by hash, and names a row that somebody changed`()
        async throws
    {
        try await ProjectorRig.with("rebuild") { rig in
            var random = SeededGenerator(seed: UInt64(RunSeed.take()))
            try await rig.insertBlast(recipients: 150)
            let live = try rig.startProjector("live")
            let events = rig.randomEvents(3500, using: &random)
            try await rig.produce(Array(events.prefix(1000)))
            try await Self.produceOddities(rig)
            try await rig.produce(Array(events[1000..<3000]))
            try await rig.waitUntilProjected(3002)
            // What was late has a row now: a rebuild must not be wiser than the live projection was.
            try await rig.insertRow(Self.early)
            _ = try await rig.database.query(
                """
                INSERT INTO blast_count (blast_id, part, facts, district_id, n)
                SELECT blast_id, -1, 1, 1, 1 FROM delivery_status WHERE blast_id <> $1
                """, [.uuid(high: rig.blast.high, low: rig.blast.low)])

            try await Self.expect(rig, ["start", "second"], 0, "made second: 151 deliveries, 3002 records to project")
            try await rig.produce(Array(events[3000...]))
            let killed = try Self.rebuilder(rig, "second", ["ROLLCALL_FAULT_POINT": "projector.before-commit:6"])
            #expect(try await killed.ended(within: .seconds(120)) == 9)
            // The server may still be at a commit of the dead.
            let done = try await rig.number(
                """
                SELECT sum(next_offset)
                  FROM (SELECT next_offset FROM projection_second.projector_partition FOR UPDATE) AS committed
                """)
            #expect((1..<3002).contains(done))
            try await Self.expect(rig, ["compare", "second"], 1, "is not complete, \(3002 - done) records remain")
            let heir = try Self.rebuilder(rig, "second")
            try await Self.expect(rig, ["watch", "second", "--timeout", "300"], 0, "3002 of 3002 records (100 %)")
            for name in ["next", "until"] {
                try await eventually("the metrics say so, \(name)") {
                    try await rig.metric("rollcall_projector_rebuild_\(name)_offset", of: heir) == 3002
                }
            }
            try await rig.waitUntilProjected(3502)
            let equal = try await Self.expect(rig, ["compare", "second"], 0, "history: equal")
            #expect(equal.contains("deliveries: equal") && equal.contains("counters: equal"), "\(equal)")
            #expect(equal.contains("unreadable records: equal") && equal.contains("live     151 rows"), "\(equal)")
            // A live one that had to take its partitions again would repeat records.
            let takings = try live.logText().split(separator: "\n").count { $0.contains("partitions assigned") }
            let published = try await rig.stack.readAll(.deliveryStatus).count
            #expect(
                Int64(published) == (try await rig.number("SELECT count(*) FROM delivery_log")) || takings > 1,
                "only the live one publishes")
            #expect(try await heir.terminate() == 0)
            #expect(try await live.terminate() == 0)

            _ = try await rig.database.query("UPDATE delivery_status SET attempts = 99 WHERE recipient_no = 7")
            _ = try await rig.database.query("UPDATE blast_count SET n = n + 1 WHERE part = -1 AND n = 150")
            _ = try await rig.database.query("UPDATE delivery_log SET evidence = 'forged' WHERE part = 0 AND seq = 3")
            try await Self.expect(rig, ["start", "third"], 0, "3502 records to project")
            let third = try Self.rebuilder(rig, "third")
            try await Self.expect(rig, ["watch", "third", "--timeout", "300"], 0, "complete")
            #expect(try await third.terminate() == 0)
            let different = try await Self.expect(rig, ["compare", "third"], 1, "3 differences")
            #expect(different.contains("\(rig.blast)/7: attempts 99 live, "), "\(different)")
            #expect(different.contains("\(rig.blast) facts 1: only live"), "\(different)")
            #expect(different.contains("partition 0 seq 3: evidence forged live, 250 2.0.0 OK rebuilt"), "\(different)")
            let list = try await Self.expect(rig, ["list"], 0, "second  3002 of 3002 records")
            #expect(list.contains("third  3502 of 3502 records"))
            for name in ["second", "third"] { try await Self.expect(rig, ["drop", name], 0, "dropped \(name)") }
            #expect(try await rig.number("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'projection%'") == 0)
        }
    }

    @Test func `compares what is kept although a blast of the history is gone, and says so`() async throws {
        try await ProjectorRig.with("rebuild-gone") { rig in
            try await rig.insertBlast(recipients: 10)
            try await rig.insertRow(Self.early)
            let live = try rig.startProjector("live")
            try await Self.produceOddities(rig)
            try await rig.produce((1...10).map { rig.event($0, .sent, "e\($0)") })
            try await rig.waitUntilProjected(12)
            #expect(try await live.terminate() == 0)
            for table in ["delivery_status", "delivery_log", "blast_count"] {
                _ = try await rig.database.query("DELETE FROM \(table) WHERE blast_id = '\(Self.early.blast)'")
            }
            try await Self.expect(rig, ["start", "second"], 0, "10 deliveries, 12 records to project")
            let rebuilder = try Self.rebuilder(rig, "second")
            try await Self.expect(rig, ["watch", "second", "--timeout", "300"], 0, "complete")
            #expect(try await rebuilder.terminate() == 0)
            let output = try await Self.expect(
                rig, ["compare", "second"], 0, "1 events belong to deliveries whose rows are gone")
            #expect(output.contains("deliveries: equal") && !output.contains("history:"), "\(output)")
            _ = try await rig.database.query(
                "UPDATE projection_second.delivery_status SET facts = facts | 4 WHERE recipient_no = 3")
            try await Self.expect(rig, ["compare", "second"], 1, "/3: facts 1048577 live, 1048581 rebuilt")
        }
    }

    @Test func `that cannot be is refused with the reason`() async throws {
        try await ProjectorRig.with("rebuild-refused") { rig in
            try await Self.expect(rig, ["start", "second"], 1, "there is nothing to rebuild")
            try await Self.expect(rig, ["start", "live"], 64, "is no name for a second projection")
            try await rig.insertBlast(recipients: 10)
            let live = try rig.startProjector("live")
            try await rig.produce((1...10).map { rig.event($0, .sent, "e\($0)") })
            try await rig.waitUntilProjected(10)
            #expect(try await live.terminate() == 0)
            try await Self.expect(rig, ["start", "second"], 0, "10 records to project")
            try await Self.expect(rig, ["start", "second"], 1, "second exists already")
            _ = try await rig.database.query(
                "UPDATE projection_second.rebuild_cut SET until_offset = until_offset + 1 WHERE part = 0")
            let rebuilder = try Self.rebuilder(rig, "second")
            #expect(try await rebuilder.ended(within: .seconds(120)) == 1)
            try await Self.expect(rig, ["watch", "second"], 1, "it cannot go on: partition 0: the topic ends at")
            _ = try await rig.database.query("UPDATE projector_partition SET incarnation = 2 WHERE part = 1")
            try await Self.expect(rig, ["start", "other"], 1, "the event history restarted (partition 1")
            try await Self.expect(rig, ["drop", "other"], 1, "there is no second projection other")
        }
    }

    /// Of today, so that its partition exists; without a row at first.
    private static let early = DeliveryID(
        blast: BlastID(
            high: UInt64(Date().timeIntervalSince1970 * 1000) << 16 | 0x7000, low: 0x8000_0000_0000_0002),
        recipientNumber: 1)

    private static func produceOddities(_ rig: ProjectorRig) async throws {
        try await rig.produce([
            DeliveryEvent(
                id: "early", source: "/test", delivery: early, district: DistrictID(1), fact: .delivered,
                occurredAtMicroseconds: 1_790_000_000_000_000)
        ])
        let bad = rig.event(2, .sent, "bad")
        try await rig.produce(records: [
            ProducerRecord(
                topic: Topic.deliveryEvents.name, key: bad.key, value: Array("no json".utf8),
                headers: bad.attributes.headers.map { KafkaHeader(name: $0.name, text: $0.value) })
        ])
    }

    private static func rebuilder(_ rig: ProjectorRig, _ name: String, _ more: [String: String] = [:]) throws
        -> ServiceProcess
    {
        try rig.startProjector(name, ["ROLLCALL_PROJECTOR_PROJECTION": name].merging(more) { $1 })
    }

    @discardableResult
    private static func expect(_ rig: ProjectorRig, _ arguments: [String], _ status: Int32, _ words: String)
        async throws -> String
    {
        let result = try await Command.run(
            ProjectFolder.program("rollcall"), ["rebuild"] + arguments, environment: rig.databaseOf.environment)
        #expect(result.status == status && result.output.contains(words), "\(arguments): \(result.output)")
        return result.output
    }
}
