import Contracts
import Delivery
import Foundation
import Kafka
import Postgres
import TestKit
import Testing

/// The consumers of the guide, in Python and in Swift, against live blasts.
@Suite(.serialized) struct `A consumer of the topics` {
    @Test
    func `keeps a correct copy across kills, rebalances, repeats and replay, from a snapshot too, and forgets in time`()
        async throws
    {
        let settings = ["ROLLCALL_PROJECTOR_TIDY_INTERVAL": "500ms", "ROLLCALL_PROJECTOR_PROGRESS_SWEEP": "1s"]
        try await BlastRig.with("blast-consumers", settings) { rig in
            var members: [ServiceProcess] = []
            defer { for member in members { member.signal(9) } }
            func follow(_ copies: [KeptCopy], as name: String) throws -> [ServiceProcess] {
                let started = try copies.map { try $0.follow(as: name) }
                members += started
                rig.watch(started)
                return started
            }
            let early = try await KeptCopy.both("early", on: rig.stack)
            let first = try follow(early, as: "first")
            let list = Mailboxes.list(1500)
            let blast = try await rig.send(list, subject: "Book fair")
            try await eventually("the copies have begun", every: .milliseconds(300)) {
                try await early[0].states().count * early[1].states().count > 0
            }
            // A second member joins, the first dies, and so does the projector.
            let second = try follow(early, as: "second")
            for member in first { try await member.kill() }
            let left = try await Self.states(of: early)
            try await rig.killAndRestart("status-projector")

            // A team that begins in the middle.
            let late = try await KeptCopy.both("late", on: rig.stack)
            let snapshot = try await rig.snapshot()
            for copy in late { try await copy.load(snapshot) }
            let beginners = try follow(late, as: "first")
            let settled = try await rig.settledCount(blast)
            #expect(settled < list.count, "the blast was over before the snapshot")
            try await rig.killAndRestart("status-projector")
            for member in beginners { try await member.kill() }
            _ = try follow(late, as: "second")
            try await eventually("the second members read on") {
                zip(try await Self.states(of: early), left).allSatisfy { $0 != $1 }
            }
            // One after the other: a leader that leaves while anybody joins, the broker of the tests never gets over.
            for member in second { #expect(try await member.terminate() == 0, "\(member.name)") }
            _ = try follow(early, as: "third")

            // Old records once more, as a stopped projector that wakes up would say them.
            try await rig.repeatOldRecords()
            try await rig.expectStatuses(of: blast, list)
            try await rig.expectTopicAgrees(with: blast)
            try await rig.expect(early + late) { try await rig.table(of: blast) }

            // Replay: a copy that lost rows is whole again.
            for member in members where member.isRunning { try await member.kill() }
            for copy in early { try await Self.loseHalf(of: copy, list.count) }
            _ = try follow(early + late, as: "fourth")
            try await rig.expect(early + late) { try await rig.table(of: blast) }

            try await Self.expire(blast, rig)
            try await rig.expect(early + late) { [:] }
            // Who reads everything from the beginning now forgets it as well, whichever topic comes first.
            let latest = try await KeptCopy.both("latest", on: rig.stack)
            let lines = try String(contentsOf: try await rig.snapshot(), encoding: .utf8).split(separator: "\n")
            #expect(lines.count == 2, "a snapshot leaves expired blasts out")
            for copy in latest { try await copy.load(snapshot) }
            _ = try follow(latest, as: "first")
            try await rig.expect(latest) { [:] }
            for member in members where member.isRunning {
                #expect(try await member.terminate() == 0, "\(member.name)")
            }
        }
    }

    private static func states(of copies: [KeptCopy]) async throws -> [[DeliveryID: KeptState]] {
        var states: [[DeliveryID: KeptState]] = []
        for copy in copies { states.append(try await copy.states()) }
        return states
    }

    /// The copy begins anew with what is left.
    private static func loseHalf(of copy: KeptCopy, _ audience: Int) async throws {
        try await copy.loseHalf()
        let kept = try await copy.states().count
        #expect(kept < audience)
        try await copy.rewind()
    }

    /// 60 days later.
    private static func expire(_ blast: BlastID, _ rig: BlastRig) async throws {
        _ = try await rig.database.query(
            "UPDATE blast SET expires_at = clock_timestamp() WHERE blast_id = $1",
            [.uuid(high: blast.high, low: blast.low)])
        let announced = try await eventually("the end of the report is announced") {
            try await rig.stack.readAll(.blastProgress).filter { $0.header("ce_type") == BlastExpiredRecord.type }
        } until: {
            !$0.isEmpty
        }
        #expect(announced.map { $0.header("ce_id") } == ["expired/\(blast)"])
    }

    /// Two members of a group: one forgets a blast while the other has a record of it in hand.
    @Test func `keeps nothing of a blast that is forgotten at that moment, and every record as it was published`()
        async throws
    {
        let copy = try await KeptCopy.both("forgotten", on: LocalStack.shared())[1]
        guard case .swift(let database) = copy.keeper else { return }
        #expect(try await copy.states().isEmpty)
        let blasts = (1...2).map { BlastID(high: 0x01a2_0000_0000_7000, low: 0x8000_0000_0000_0000 + $0) }
        let lines = try blasts.map { blast in
            let record = DeliveryStatusRecord(
                delivery: DeliveryID(blast: blast, recipientNumber: 1), district: DistrictID(1),
                facts: DeliveryFacts.initial.union(.sent), versionFrom: 0, incarnation: 1, seq: 5, attempts: 1,
                lastAttemptAtMicroseconds: nil, response: nil, changedAtMicroseconds: 1_790_000_000_000_000,
                eventID: "e")
            // Of a later version: a member that nobody here knows, and a fact that this program does not count.
            return String(decoding: try record.value(), as: UTF8.self)
                .replacing("{", with: #"{"a_later_member":[1],"#, maxReplacements: 1)
                .replacing(#""version":1"#, with: #""version":2"#)
        }
        let header =
            #"{"cluster_id":"c","offsets":{"0":1},"topic":"rollcall.delivery.status.v1","#
            + #""type":"rollcall.delivery.snapshot.v1"}"#
        let end = #"{"records":2,"type":"rollcall.delivery.snapshot.end.v1"}"#
        let snapshot = FileManager.default.temporaryDirectory.appending(path: "rollcall-\(UUID().uuidString).ndjson")
        defer { try? FileManager.default.removeItem(at: snapshot) }
        try ([header] + lines + [end]).map { $0 + "\n" }.joined().write(to: snapshot, atomically: true, encoding: .utf8)

        var settings = database.owner
        settings.searchPath = "public"
        let other = PostgresConnection(settings, name: "other member")
        try await other.connect()
        _ = try await other.query("BEGIN")
        _ = try await other.query(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [.text(blasts[0].description)])
        _ = try await other.query("INSERT INTO expired VALUES ($1)", [.uuid(high: blasts[0].high, low: blasts[0].low)])
        async let loaded: Void = copy.load(snapshot)
        _ = try await eventually("the record waits until the blast is forgotten") {
            try await other.query("SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")[0]
                .int("n")
        } until: {
            $0 == 1
        }
        _ = try await other.query("COMMIT")
        try await loaded
        #expect(try await copy.states().keys.map(\.blast) == [blasts[1]])
        let row = try await other.query("SELECT record, version FROM delivery")[0]
        #expect(try row.string("record") == lines[1])
        #expect(try row.int("version") == 2)
        await other.close()
    }

    @Test func `that comes after compaction and retention has the newest state of every delivery that is left`()
        async throws
    {
        try await BlastRig.with("blast-latecomer", ["ROLLCALL_PROJECTOR_TIDY_INTERVAL": "500ms"]) { rig in
            let list = Mailboxes.list(300)
            let blast = try await rig.send(list, subject: "Lost and found")
            _ = try await eventually("the blast is under way") {
                try await rig.settledCount(blast)
            } until: {
                $0 > 30
            }
            try await rig.killAndRestart("status-projector")
            try await rig.expectStatuses(of: blast, list)
            try await rig.expectTopicAgrees(with: blast)
            let table = try await rig.table(of: blast)
            // Teams whose positions belong to this broker, and whose copies have holes.
            let moved = try await KeptCopy.both("moved", on: rig.stack)
            let snapshot = try await rig.snapshot()
            var remains: [Set<DeliveryID>] = []
            for copy in moved {
                try await copy.load(snapshot)
                try await copy.loseHalf()
                remains.append(Set(try await copy.states().keys))
            }
            var members = try moved.map { try $0.follow(as: "first") }
            defer { for member in members { member.signal(9) } }
            for service in BlastRig.services { try await rig.process(service).terminate() }

            let whole = try await rig.stack.readAll(.deliveryStatus)
            let left = try CompactedTopic(whole)
            #expect(left.records.count == left.deliveries.count && left.deliveries.count < table.count)
            #expect(whole.count > table.count, "there was nothing to compact")
            // A broker that holds what compaction and the deletion of the oldest segments leave.
            try await rig.stack.restartBroker()
            try await rig.applyTopics()
            try await rig.stack.produce(left.records)
            let copies = try await KeptCopy.both("latecomer", on: rig.stack)
            members += try copies.map { try $0.follow(as: "first") }
            try await rig.expect(copies) { table.filter { left.deliveries.contains($0.key) } }
            // What such a reader misses: the versions before, and nothing else.
            #expect(left.firstSeenVersions.contains { $0 > 0 })
            for member in members.suffix(2) { #expect(try await member.terminate() == 0) }
            // The others notice that it is another broker, end, and read it from the beginning.
            for member in members.prefix(2) { #expect(try await member.ended(within: .seconds(120)) != 0) }
            members += try moved.map { try $0.follow(as: "second") }
            for (copy, remains) in zip(moved, remains) {
                try await rig.expect([copy]) {
                    table.filter { remains.contains($0.key) || left.deliveries.contains($0.key) }
                }
            }
        }
    }

    @Test func `finds the contract kept on every topic, with an emergency, a command and a dead letter`() async throws {
        try await BlastRig.with("blast-topics", ["ROLLCALL_PROJECTOR_PROGRESS_SWEEP": "1s"]) { rig in
            let list = Mailboxes.list(60)
            let blast = try await rig.send(list, subject: "Bus 7 is late")
            // Nobody is asked whether they want to hear of an emergency.
            let urgent = Mailboxes.list(40, tag: "e").filter { !$0.address.hasPrefix("unsub") }
            let emergency = try await rig.send(urgent, subject: "School is closed", class: "emergency")
            try await rig.expectStatuses(of: blast, list)
            try await rig.expectStatuses(of: emergency, urgent)
            let order = try JSONSerialization.data(
                withJSONObject: ["address": "bounce-1@families.example", "reason": "the mailbox was full"])
            let answer = try await rig.call("POST", "/v1/blacklist/reset", "report", body: order)
            #expect(answer.status == 202, "\(answer.text)")
            try await rig.stack.produce([
                ProducerRecord(
                    topic: Topic.deliveryEvents.name, key: Array("nobody".utf8), value: Array("{\"half\":".utf8),
                    headers: [])
            ])
            _ = try await rig.database.query(
                "UPDATE blast SET expires_at = clock_timestamp() WHERE blast_id = $1",
                [.uuid(high: blast.high, low: blast.low)])
            for topic in [Topic.deadLetters, .commands, .blastProgress] {
                _ = try await eventually("\(topic.name) has its record", every: .seconds(1)) {
                    try await rig.stack.readAll(topic).compactMap { $0.header("ce_type") }
                } until: {
                    topic == .blastProgress ? $0.contains(BlastExpiredRecord.type) : !$0.isEmpty
                }
            }
            try await rig.expectTopicAgrees(with: emergency)
            try await rig.expectSnapshotIsTheTopic(emergency, deliveries: urgent.count)
            for service in BlastRig.services { #expect(try await rig.process(service).terminate() == 0) }
            // The record nobody can read was ours, not a service's.
            try await rig.expectContractKept(on: Topic.all, except: ["{\"half\":"])
        }
    }
}

/// What a compacted topic keeps: the last record of each key, and nothing of the oldest segments.
struct CompactedTopic {
    private(set) var records: [ProducerRecord] = []
    private(set) var deliveries: Set<DeliveryID> = []
    private(set) var firstSeenVersions: [Int] = []

    init(_ whole: [ConsumerRecord]) throws {
        for (_, part) in Dictionary(grouping: whole, by: \.topicPartition) {
            var last: [[UInt8]: Int] = [:]
            for (index, record) in part.enumerated() { last[record.key ?? []] = index }
            let segmentStart = part.count / 4
            for (index, record) in part.enumerated() where index >= segmentStart && last[record.key ?? []] == index {
                let status = try DeliveryStatusRecord(value: try #require(record.value))
                deliveries.insert(status.delivery)
                firstSeenVersions.append(status.versionFrom)
                records.append(
                    ProducerRecord(
                        topic: record.topicPartition.topic, key: record.key ?? [], value: record.value,
                        headers: record.headers, partition: record.topicPartition.partition))
            }
        }
    }
}

extension BlastRig {
    /// Makes the topics as an operator does. The broker then says of each the settings that the guide states.
    func applyTopics() async throws {
        for words in ["made \(Topic.deliveryStatus.name)", "nothing to make"] {
            let applied = try await rollcall("topics", "apply")
            try #require(applied.status == 0 && applied.output.contains(words), "\(applied.output)")
        }
        let program = """
            import json, sys
            from confluent_kafka.admin import AdminClient, ConfigResource
            topics = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in sys.argv[2:]]
            admin = AdminClient({"bootstrap.servers": sys.argv[1]})
            said = admin.describe_configs(topics)
            print(json.dumps({t.name: {n: s.value for n, s in f.result(60).items()} for t, f in said.items()}))
            """
        let result = try await TestKit.Command.run(
            ProjectFolder.python, ["-c", program, stack.kafkaBootstrap] + Topic.all.map(\.name))
        let line = try #require(result.output.split(separator: "\n").first { $0.hasPrefix("{") }, "\(result.output)")
        let settings = try JSONDecoder().decode([String: [String: String]].self, from: Data(line.utf8))
        for topic in Topic.all {
            for (name, value) in topic.configuration(replicationFactor: 1) {
                #expect(settings[topic.name]?[name] == value, "\(topic.name): \(name)")
            }
        }
    }

    /// Publishes every second record that is on the status topic so far once more, behind the newer ones.
    func repeatOldRecords() async throws {
        let old = try await stack.readAll(.deliveryStatus).enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
        try #require(!old.isEmpty)
        try await stack.produce(
            old.map {
                ProducerRecord(
                    topic: $0.topicPartition.topic, key: $0.key ?? [], value: $0.value, headers: $0.headers,
                    partition: $0.topicPartition.partition)
            })
    }
}

extension LocalStack {
    func produce(_ records: [ProducerRecord]) async throws {
        let producer = try KafkaProducer(kafka(), messageTimeout: .seconds(120))
        do {
            try await producer.send(records)
        } catch {
            await producer.close(timeout: .zero)
            throw error
        }
        await producer.close(timeout: .seconds(5))
    }
}
