import Contracts
import Delivery
import Foundation
import Kafka
import Postgres
import TestKit
import Testing

/// What an operator does about parked records, with the real tool, projector, broker and database.
@Suite(.serialized) struct `Parked records` {
    @Test func `are listed, shown safely and replayed, and replaying twice equals once`() async throws {
        try await ProjectorRig.with("parked") { rig in
            try await rig.insertBlast(recipients: 5)
            let projector = try rig.startProjector("only")
            let bad = rig.event(2, .sent, "bad")
            let repainting = "\u{1B}[2J\u{202E}not json"
            try await rig.produce(records: [
                ProducerRecord(
                    topic: Topic.deliveryEvents.name, key: bad.key, value: Array(repainting.utf8),
                    headers: bad.attributes.headers.map { KafkaHeader(name: $0.name, text: $0.value) })
            ])
            let early = DeliveryEvent(
                id: "early", source: "/test", delivery: DeliveryID(blast: Self.unknownBlast, recipientNumber: 1),
                district: DistrictID(1), fact: .delivered, occurredAtMicroseconds: 1_790_000_000_000_000)
            try await rig.produce([early])
            try await rig.waitUntilProjected(2)

            let list = try await Self.rollcall(rig, ["parked", "list"])
            #expect(list.status == 0, "\(list.output)")
            let ids = Self.ids(list.output)
            let late = try #require(ids.first { $0.hasPrefix("late/") })
            let dead = try #require(ids.first { $0.hasPrefix("dead/") })
            #expect(ids.count == 2)
            let shown = try await Self.rollcall(rig, ["parked", "show", dead, late])
            #expect(shown.output.contains(#"value      \u{1b}[2J\u{202e}not json"#), "\(shown.output)")
            #expect(shown.output.contains("ce_id: bad"))
            let json = try await Self.rollcall(rig, ["parked", "show", dead, "--json"])
            for output in [list.output, shown.output, json.output] {
                #expect(!output.unicodeScalars.contains { $0 != "\n" && ($0.value < 32 || $0 == "\u{202E}") })
            }

            let refused = try await Self.rollcall(rig, ["parked", "replay", "--all"])
            #expect(refused.status == 1)
            #expect(refused.output.contains("\(dead)  refused: it still cannot be read"), "\(refused.output)")
            #expect(refused.output.contains("\(late)  refused: the delivery \(early.delivery) has no row"))

            try await rig.insertRow(early.delivery)
            let dry = try await Self.rollcall(rig, ["parked", "replay", late, "--dry-run"])
            #expect(dry.output.contains("would be replayed"), "\(dry.output)")
            try await rig.waitUntilProjected(2)
            let done = try await Self.rollcall(rig, ["parked", "replay", late, "--actor", "ann"])
            #expect(done.status == 0 && done.output.contains("\(late)  replayed"), "\(done.output)")
            try await rig.waitUntilProjected(3)
            let again = try await Self.rollcall(rig, ["parked", "replay", late])
            #expect(again.status == 0 && again.output.contains("by ann"), "\(again.output)")
            #expect(try await rig.stack.readAll(.deliveryEvents).count == 3)
            #expect(!(try await Self.rollcall(rig, ["parked", "list"]).output.contains(late)))
            #expect(try await Self.rollcall(rig, ["parked", "list", "--replayed"]).output.contains("by ann"))

            // A death before the mark: the record goes out again and changes nothing.
            _ = try await rig.database.query("DELETE FROM parked_replay")
            #expect(try await Self.rollcall(rig, ["parked", "replay", late]).status == 0)
            try await rig.waitUntilProjected(4)
            #expect(try await rig.number("SELECT count(*) FROM delivery_log") == 1)
            #expect(
                try await rig.number("SELECT facts FROM delivery_status WHERE blast_id = '\(Self.unknownBlast)'")
                    == 1 | 1 << 30)
            #expect(try await projector.terminate() == 0)
        }
    }

    @Test func `an event off its key's partition is put onto it, and twice equals once`() async throws {
        try await ProjectorRig.with("parked-astray") { rig in
            try await rig.insertBlast(recipients: 1)
            let projector = try rig.startProjector("only")
            let event = rig.event(1, .delivered, "astray")
            let home = Int32(Murmur2.partition(of: event.key, count: Topic.deliveryEvents.partitions))
            let astray = ProducerRecord(
                topic: Topic.deliveryEvents.name, key: event.key, value: try event.value(),
                headers: event.attributes.headers.map { KafkaHeader(name: $0.name, text: $0.value) },
                partition: (home + 1) % Int32(Topic.deliveryEvents.partitions))
            try await rig.produce(records: [astray])
            try await rig.waitUntilProjected(1)
            #expect(try await rig.number("SELECT count(*) FROM delivery_log") == 0)
            let list = try await Self.rollcall(rig, ["parked", "list", "--reason", "its key belongs on"])
            let id = try #require(Self.ids(list.output).first, "\(list.output)")

            for (actor, total) in [("ann", 2), ("bob", 2), ("eve", 3)] {
                // The third time the mark was lost.
                if actor == "eve" { _ = try await rig.database.query("DELETE FROM parked_replay") }
                let replay = try await Self.rollcall(rig, ["parked", "replay", id, "--actor", actor])
                #expect(replay.status == 0, "\(replay.output)")
                try await rig.waitUntilProjected(total)
                let copies = try await rig.stack.readAll(.deliveryEvents).filter {
                    $0.header("rollcall-replay-of") != nil
                }
                #expect(copies.count == total - 1)
                #expect(copies.allSatisfy { $0.topicPartition.partition == home && $0.key == event.key })
                #expect(try await rig.number("SELECT count(*) FROM delivery_log") == 1)
                #expect(try await rig.number("SELECT facts FROM delivery_status") == 1 | 1 << 30)
            }
            #expect(try await rig.number("SELECT count(*) FROM dead_letter") == 1)
            #expect(try await projector.terminate() == 0)
        }
    }

    @Test func `all of them are replayed by --all, a list shows the newest thousand, and what is too old is removed`()
        async throws
    {
        try await ProjectorRig.with("parked-many") { rig in
            for (table, columns, values, time) in [
                ("dead_letter", "reason", "'bad'", "parked_at"),
                (
                    "late_event", "event_id, subject, fact", "'e', '01a20000-0000-7000-8000-000000000000/1', 30",
                    "seen_at"
                ),
            ] {
                _ = try await rig.database.query(
                    """
                    INSERT INTO \(table) (projection, cluster_id, topic, part, record_offset, value, \(columns), \(time))
                    SELECT 'live', 'gone', $1, 0, n, convert_to('not json', 'UTF8'), \(values),
                           clock_timestamp() - n * interval '1 second'
                                             - CASE WHEN n > 700 THEN interval '71 days' ELSE interval '0' END
                      FROM generate_series(1, 2800) n
                    """, [.text(Topic.deliveryEvents.name)])
            }
            let list = try await Self.rollcall(rig, ["parked", "list"])
            #expect(Self.ids(list.output).count == 1000, "\(list.output.suffix(200))")
            let chosen = try await Self.rollcall(
                rig, ["parked", "list", "--kind", "late", "--partition", "0", "--reason", "HAD NO ROW", "--limit", "2"])
            #expect(Self.ids(chosen.output).map { $0.split(separator: "/").last } == ["2", "1"], "\(chosen.output)")
            #expect(Self.ids(try await Self.rollcall(rig, ["parked", "list", "--partition", "1"]).output).isEmpty)
            let replay = try await Self.rollcall(
                rig, ["parked", "replay", "--all", "--dry-run", "--kind", "unreadable"])
            #expect(Self.ids(replay.output).count == 2800 && replay.status == 1, "\(replay.output.suffix(200))")

            // Of what was put back longer than a year ago nothing is left.
            _ = try await rig.database.query(
                """
                INSERT INTO parked_replay
                SELECT 'dead/' || n, 'ann', now() - n * interval '1 day' FROM unnest('{364, 367}'::int[]) n
                """)
            for (last, marks) in [("--dry-run", 2), ("--actor=ann", 1)] {
                let one = try await Self.rollcall(rig, ["parked", "replay", "--all", "--limit", "1", last])
                #expect(Self.ids(one.output).count == 1, "\(one.output)")
                #expect(try await rig.number("SELECT count(*) FROM parked_replay") == marks)
            }

            let projector = try rig.startProjector("only")
            for (table, time) in [("dead_letter", "parked_at"), ("late_event", "seen_at")] {
                _ = try await eventually("what is too old is removed from \(table)") {
                    try await rig.number("SELECT count(*) FROM \(table)")
                } until: {
                    $0 == 700
                }
                #expect(
                    try await rig.number("SELECT count(*) FROM \(table) WHERE \(time) < now() - interval '1 day'") == 0)
            }
            #expect(try await projector.terminate() == 0)
        }
    }

    @Test func `of other services are read from the dead-letter topic and taken from their place`() async throws {
        try await ProjectorRig.with("parked-others") { rig in
            let chunk = ChunkMessage(
                stage: .requested, blast: Self.unknownBlast, district: DistrictID(1), chunkNumber: 1,
                firstRecipient: 1, lastRecipient: 5, isEmergency: false, atMicroseconds: 1_790_000_000_000_000)
            let headers = chunk.attributes.headers.map { KafkaHeader(name: $0.name, text: $0.value) }
            let topic = chunk.topic
            try await rig.produce(records: [
                ProducerRecord(topic: topic.name, key: chunk.key, value: try chunk.value(), headers: headers)
            ])
            let stands = try #require(try await rig.stack.readAll(topic).first)
            let admin = try KafkaAdmin(rig.stack.kafka())
            let cluster = try #require(try await admin.clusterID(timeout: .seconds(60)))
            await admin.close()
            func letter(offset: Int64) -> DeadLetter {
                DeadLetter(
                    topic: topic.name, partition: stands.topicPartition.partition, offset: offset, clusterID: cluster,
                    value: stands.value, reason: "it was too new", source: "/rollcall/blacklist-guard",
                    atMicroseconds: 1_790_000_000_000_000)
            }
            let webhook = DeadLetter(
                origin: "webhook/standard", digest: "00ff", value: [1, 2, 255], reason: "not an event",
                source: "/rollcall/event-ingester", atMicroseconds: 1_790_000_000_000_000)
            let letters = [letter(offset: stands.offset), letter(offset: stands.offset + 1000), webhook]
            try await rig.produce(
                records: (letters + letters).map { letter in
                    ProducerRecord(
                        topic: Topic.deadLetters.name, key: letter.key, value: letter.value,
                        headers: letter.headers.map { KafkaHeader(name: $0.name, text: $0.value) })
                })

            let ids = Self.ids(try await Self.rollcall(rig, ["parked", "list"]).output)
            #expect(Set(ids) == Set(letters.map(\.id)) && ids.count == 3)
            let filtered = try await Self.rollcall(rig, ["parked", "list", "--service", "event-ingester"])
            #expect(Self.ids(filtered.output) == [webhook.id])
            #expect(
                try await Self.rollcall(rig, ["parked", "show", webhook.id]).output.contains("value      0x0102ff"))
            let replay = try await Self.rollcall(rig, ["parked", "replay"] + letters.map(\.id))
            #expect(replay.status == 1)
            #expect(replay.output.contains("\(letters[0].id)  replayed"), "\(replay.output)")
            #expect(replay.output.contains("\(letters[1].id)  refused: "))
            #expect(replay.output.contains("\(webhook.id)  refused: it came in by webhook/standard"))
            let records = try await rig.stack.readAll(topic)
            let copy = try #require(records.first { $0.header("rollcall-replay-of") != nil })
            #expect(records.count == 2)
            #expect(copy.key == stands.key && copy.value == stands.value)
            #expect(copy.topicPartition == stands.topicPartition)
            #expect(
                copy.header("rollcall-replay-of")
                    == "\(topic.name)/\(stands.topicPartition.partition)/\(stands.offset)")
            #expect(try ChunkMessage(value: copy.value ?? []) { copy.header($0) } == chunk)
        }
    }

    /// Of today, so that its partition exists.
    private static let unknownBlast = BlastID(
        high: UInt64(Date().timeIntervalSince1970 * 1000) << 16 | 0x7000, low: 0x8000_0000_0000_0001)

    private static func ids(_ output: String) -> [String] {
        output.split(separator: "\n").compactMap { line in
            line.split(separator: " ").first { $0.hasPrefix("dead/") || $0.hasPrefix("late/") }.map(String.init)
        }
    }

    static func rollcall(_ rig: ProjectorRig, _ arguments: [String]) async throws -> TestKit.Command.Result {
        try await Command.run(
            ProjectFolder.program("rollcall"), arguments, environment: rig.databaseOf.environment)
    }
}
