import Contracts
import Delivery
import Foundation
import Glibc
import Kafka
import Postgres
import TestKit
import Testing

/// Real processes, real broker, real database, each test on a stack of its own.
@Suite(.serialized) struct `The projector as a process` {
    @Test func `facts survive kills, duplicates, reordering and two owners, and the topic tells the same story`()
        async throws
    {
        try await ProjectorRig.with("projector-kills") { rig in
            let seed = RunSeed.take()
            var random = SeededGenerator(seed: UInt64(seed))
            let history = try await rig.insertHistory(seed: seed, recipients: 200, records: 3000)
            let events = history.produced([rig.blast])
            var projectors = [
                try rig.startProjector("a", ["ROLLCALL_FAULT_POINT": "projector.after-commit:3"]),
                try rig.startProjector("b", ["ROLLCALL_FAULT_POINT": "projector.after-publish:2"]),
            ]
            for (index, chunk) in stride(from: 0, to: events.count, by: 400).enumerated() {
                try await rig.produce(records: Array(events[chunk..<min(chunk + 400, events.count)]))
                let victim = Int.random(in: 0...1, using: &random)
                if index.isMultiple(of: 2) || !projectors[victim].isRunning {
                    try await projectors[victim].kill()
                    let fault = index == 4 ? ["ROLLCALL_FAULT_POINT": "projector.before-commit:2"] : [:]
                    projectors[victim] = try rig.startProjector(victim == 0 ? "a" : "b", fault)
                }
                for index in 0...1 where !projectors[index].isRunning {
                    projectors[index] = try rig.startProjector(index == 0 ? "a" : "b")
                }
            }
            for index in 0...1 where !projectors[index].isRunning {
                projectors[index] = try rig.startProjector(index == 0 ? "a" : "b")
            }
            try await rig.waitUntilProjected(events.count)
            try await rig.expectTables(agreeWith: history)
            for projector in projectors where projector.isRunning {
                #expect(try await projector.terminate() == 0)
            }
        }
    }

    @Test func `a stopped owner that wakes up is fenced and writes nothing`() async throws {
        try await ProjectorRig.with("projector-zombie") { rig in
            var random = SeededGenerator(seed: 7)
            try await rig.insertBlast(recipients: 50)
            let events = rig.randomEvents(600, using: &random)
            let zombie = try rig.startProjector("zombie")
            try await rig.produce(Array(events.prefix(200)))
            try await rig.waitUntilProjected(200)
            try await zombie.suspend()
            try await rig.produce(Array(events[200..<400]))
            let heir = try rig.startProjector("heir")
            try await rig.waitUntilProjected(400)
            let before = try await rig.epochs()
            zombie.signal(SIGCONT)
            try await rig.produce(Array(events[400...]))
            try await rig.waitUntilProjected(600)
            try await rig.expectEverythingAgrees(with: events)
            #expect(try await rig.epochs().values.allSatisfy { $0 >= 2 }, "taken over from \(before)")
            #expect(try await zombie.terminate() == 0)
            #expect(try await heir.terminate() == 0)
        }
    }

    @Test func `a broker that comes back empty is a new incarnation, reported, and everything kept is published again`()
        async throws
    {
        try await ProjectorRig.with("projector-restart") { rig in
            var random = SeededGenerator(seed: 11)
            try await rig.insertBlast(recipients: 60)
            let events = rig.randomEvents(500, using: &random)
            let projector = try rig.startProjector("only")
            try await rig.produce(Array(events.prefix(300)))
            try await rig.waitUntilProjected(300)
            try await rig.stack.restartBroker()
            try await rig.stack.createTopics()
            try await eventually("the restart is noticed") {
                try await rig.number("SELECT count(*) FROM projector_incident")
                    == Int64(Topic.deliveryEvents.partitions)
            }
            try await rig.reconnect()
            try await rig.produce(Array(events[300...]))
            try await rig.waitUntilProjected(200)
            try await rig.expectEverythingAgrees(with: events)
            #expect(try projector.logText().contains("the event history restarted"))
            #expect(try await projector.terminate() == 0)
        }
    }

    @Test func `what a stopped owner publishes late is repaired on the compacted topic`() async throws {
        try await ProjectorRig.with("projector-late") { rig in
            try await rig.insertBlast(recipients: 20)
            let events = (1...20).map { rig.event($0, .sent, "sent-\($0)") }
            try await rig.produce(events)
            let first = try rig.startProjector("first", ["ROLLCALL_FAULT_POINT": "projector.after-commit:1"])
            #expect(try await first.ended(within: .seconds(120)) == 9)
            let heir = try rig.startProjector("heir", ["ROLLCALL_PROJECTOR_TIDY_INTERVAL": "300ms"])
            try await rig.waitUntilProjected(20)
            let suspect = try await rig.database.query(
                """
                SELECT l.recipient_no FROM projector_batch b
                  JOIN delivery_log l ON l.part = b.part AND l.seq BETWEEN b.seq_from AND b.seq_to WHERE b.is_suspect
                """
            ).map { try $0.int32("recipient_no") }
            try #require(!suspect.isEmpty)
            let before = try StatusTopicView(try await rig.stack.readAll(.deliveryStatus))
            try await rig.produce(suspect.map { rig.event($0, .delivered, "delivered-\($0)") })
            try await rig.waitUntilProjected(20 + suspect.count)
            for number in suspect {
                let old = try #require(before.last[DeliveryID(blast: rig.blast, recipientNumber: number)])
                try await rig.produce(records: [
                    ProducerRecord(
                        topic: Topic.deliveryStatus.name, key: old.key, value: try old.value(),
                        headers: old.attributes.headers.map { KafkaHeader(name: $0.name, text: $0.value) })
                ])
            }
            let behind = try StatusTopicView(try await rig.stack.readAll(.deliveryStatus))
            for number in suspect {
                let newest = behind.latest[DeliveryID(blast: rig.blast, recipientNumber: number)]
                #expect(newest?.facts.contains(.delivered) == true, "the rule took a late record for the newest")
            }
            _ = try await eventually("the newest states stand last again") {
                let view = try StatusTopicView(try await rig.stack.readAll(.deliveryStatus))
                return suspect.filter { number in
                    let last = view.last[DeliveryID(blast: rig.blast, recipientNumber: number)]
                    return last?.facts.contains(.delivered) != true
                }
            } until: {
                $0.isEmpty
            }
            #expect(try await heir.terminate() == 0)
        }
    }

    @Test func `unreadable records are parked once, reported, and never stop a partition`() async throws {
        try await ProjectorRig.with("projector-poison") { rig in
            try await rig.insertBlast(recipients: 10)
            let projector = try rig.startProjector("only")
            let good = rig.event(3, .sent, "good")
            let headers = good.attributes.headers.map { KafkaHeader(name: $0.name, text: $0.value) }
            func poison(_ value: String, _ replaced: [String: String] = [:]) -> ProducerRecord {
                let key = replaced["ce_subject"].map { Array($0.utf8) } ?? good.key
                return ProducerRecord(
                    topic: Topic.deliveryEvents.name, key: key, value: Array(value.utf8),
                    headers: headers.map { header in
                        replaced[header.name].map { KafkaHeader(name: header.name, text: $0) } ?? header
                    })
            }
            let value = String(decoding: try good.value(), as: UTF8.self)
            try await rig.produce(records: [
                poison("not json"), poison(#"{"district":1,"district":2,"fact":"sent"}"#),
                poison(#"{"district":1,"fact":"sent","evidence":"\u0000"}"#),
                poison(#"{"district":1,"fact":"sent","evidence":"\ud800"}"#),
                poison(#"{"district":1,"fact":"levitated"}"#), poison(#"{"district":1e400,"fact":"sent"}"#),
                poison(value, ["ce_type": "rollcall.delivery.observed.v9"]), poison(value, ["ce_time": "yesterday"]),
                poison(value, ["ce_subject": "nobody"]), poison(#"{"district":99,"fact":"sent"}"#),
                poison(value, ["ce_subject": "01900000-0000-7000-8000-00000000ffff/1", "ce_id": "late"]),
            ])
            try await rig.produce([good])
            try await rig.waitUntilProjected(12)
            #expect(try await rig.number("SELECT count(*) FROM dead_letter") == 10)
            #expect(try await rig.number("SELECT count(*) FROM late_event") == 1)
            #expect(try await rig.number("SELECT facts FROM delivery_status WHERE recipient_no = 3") == 1 | 1 << 20)
            let parked = try await eventually("parked records are reported") {
                try await rig.stack.readAll(.deadLetters)
            } until: {
                Set($0.map { $0.header("ce_id") }).count == 10
            }
            #expect(parked.allSatisfy { $0.header("rollcall-reason")?.isEmpty == false })
            #expect(try await projector.terminate() == 0)
        }
    }

    @Test func `no update can clear a fact, whoever runs it`() async throws {
        try await ProjectorRig.with("projector-trigger") { rig in
            try await rig.insertBlast(recipients: 3)
            _ = try await rig.database.query("UPDATE delivery_status SET facts = facts | (1 << 20)")
            for role in [rig.databaseOf.owner, rig.databaseOf.role("rollcall_projector")] {
                let connection = PostgresConnection(role, name: "naive")
                try await connection.connect()
                let refused = await #expect(throws: PostgresError.self) {
                    try await connection.query("UPDATE delivery_status SET facts = 1")
                }
                #expect(refused?.sqlState == "RC001")
                await connection.close()
            }
        }
    }
}
