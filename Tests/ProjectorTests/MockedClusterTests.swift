import Contracts
import Delivery
import Kafka
import Postgres
import TestKit
import Testing

/// A real projector on librdkafka's mock of a cluster, which answers as Apache Kafka does where the local broker does
/// not: it has partitions without a leader, forgets the oldest records, and refuses offsets that it does not have.
@Suite(.serialized) struct `A partition` {
    @Test func `without a leader is waited for, and so is a topic that is said to have gone: nothing is skipped`()
        async throws
    {
        try await MockedRig.with("projector-leaderless", recipients: 90) { mocked in
            let rig = mocked.rig
            try await mocked.produce((1...30).map { rig.event($0, .sent, "sent-\($0)") })
            var projector = try mocked.startProjector("first")
            try await rig.waitUntilProjected(30)
            #expect(try await projector.terminate() == 0)

            // The next owner cannot look at the tail of one partition for much longer than it waits for a tail.
            try await mocked.produce((31...60).map { rig.event($0, .sent, "sent-\($0)") })
            let lost = mocked.partition(0)
            let others = "SELECT sum(next_offset) FROM projector_partition WHERE part > 0"
            let before = try await rig.number(others)
            try mocked.cluster.setLeader(of: lost, isThere: false)
            projector = try mocked.startProjector("second", ["ROLLCALL_PROJECTOR_TAIL_DEADLINE": "6s"])
            try await eventually("the other partitions are projected") { try await rig.number(others) > before }
            let since = ContinuousClock.now
            try await eventually("the patience with a tail is over") { since + .seconds(10) < .now }
            try mocked.cluster.setLeader(of: lost, isThere: true)
            try await rig.waitUntilProjected(60)

            // Gone, as a broker's answers say, while it is read.
            mocked.cluster.answer(.fetch, with: Array(repeating: .unknownTopicOrPartition, count: 8))
            try await mocked.produce((61...90).map { rig.event($0, .sent, "sent-\($0)") })
            try await rig.waitUntilProjected(90)
            let incidents = try await mocked.incidents()
            #expect(incidents == [])
            #expect(try await rig.number("SELECT count(*) FROM delivery_status WHERE facts = 1048577") == 90)
            #expect(try await rig.number("SELECT count(*) FROM delivery_log") == 90)
            #expect(try await projector.terminate() == 0)
        }
    }

    /// The broker takes no records, as it does while too few replicas are in sync.
    @Test func `that nothing can be published of is given up when it is taken away, and the next owner publishes it`()
        async throws
    {
        try await MockedRig.with("projector-unpublished", recipients: 60) { mocked in
            let rig = mocked.rig
            try await mocked.produce((1...60).map { rig.event($0, .sent, "sent-\($0)") })
            mocked.cluster.answer(.produce, with: Array(repeating: .notEnoughReplicas, count: 10_000))
            let first = try mocked.startProjector("first")
            try await eventually("everything is committed") {
                try await rig.number("SELECT sum(next_offset) FROM projector_partition") == 60
            }
            let second = try mocked.startProjector("second")
            try await eventually("both are answered by the other") {
                try first.logText().contains("was given up before its batch was published")
                    && second.logText().contains("partitions assigned")
            }
            #expect(try await rig.number("SELECT sum(published_seq) FROM projector_partition") == 0)
            mocked.cluster.answerAsUsual(.produce)
            try await rig.waitUntilProjected(60)
            #expect(try await mocked.incidents() == [])
            #expect(try await rig.number("SELECT count(*) FROM delivery_log") == 60)
            #expect(try await first.terminate() == 0)
            #expect(try await second.terminate() == 0)
        }
    }

    /// Retention took records of the first that were not projected, of the second all that were and no other; the third
    /// ends before what was projected, as an unclean election leaves it.
    @Test func `that lost records is an incident which says how many, and what is left is projected`() async throws {
        try await MockedRig.with("projector-overtaken", recipients: 100) { mocked in
            let rig = mocked.rig
            try await mocked.produce((1...100).map { rig.event($0, .sent, "sent-\($0)") })
            var projector = try mocked.startProjector("first")
            try await rig.waitUntilProjected(100)
            #expect(try await projector.terminate() == 0)
            let next = try await rig.number("SELECT next_offset FROM projector_partition WHERE part = 0")

            // The mock keeps five MiB of a partition.
            let recipients = (1...100).filter { mocked.home(of: $0) < 2 }
            for turn in 0..<64 {
                try await mocked.produce(
                    recipients.map { rig.event($0, .opened, "opened-\($0)-\(turn)") }, padding: 7_500)
            }
            let first = try await mocked.watermarks(0)
            let second = try await mocked.watermarks(1)
            try #require(first.low > next)
            _ = try await rig.database.query(
                "UPDATE projector_partition SET next_offset = $1 WHERE part = 1", [.int(second.low)])
            _ = try await rig.database.query(
                "UPDATE projector_partition SET next_offset = next_offset + 5 WHERE part = 2")
            // What the broker says decides, not the time that passes.
            projector = try mocked.startProjector("second", ["ROLLCALL_PROJECTOR_TAIL_DEADLINE": "300s"])
            var total: Int64 = 0
            for part in 0..<Int32(Topic.deliveryEvents.partitions) { total += try await mocked.watermarks(part).high }
            try await rig.waitUntilProjected(Int(total))

            let incidents = try await mocked.incidents()
            #expect(
                incidents == [
                    "0 retention overtook the projector: \(first.low - next) records are gone",
                    "2 the topic ends before the last projected record",
                ])
            #expect(try projector.logText().contains("the event history restarted"))
            let opened = try await rig.number(
                "SELECT count(*) FROM delivery_status WHERE facts & (1::bigint << 34) <> 0")
            #expect(opened == recipients.count)
            #expect(try await rig.number("SELECT count(*) FROM delivery_status WHERE facts & 1048576 <> 0") == 100)
            #expect(try await projector.terminate() == 0)
        }
    }
}

/// A rig whose projectors read from the mock.
private struct MockedRig {
    let rig: ProjectorRig
    let cluster: MockCluster
    let producer: KafkaProducer

    static func with(_ name: String, recipients: Int32, _ body: (MockedRig) async throws -> Void) async throws {
        try await ProjectorRig.with(name) { rig in
            try await rig.insertBlast(recipients: recipients)
            let cluster = try MockCluster()
            for topic in Topic.all { try cluster.create(topic.name, partitions: topic.partitions) }
            let producer = try KafkaProducer(cluster.configuration, messageTimeout: .seconds(120))
            do {
                try await body(MockedRig(rig: rig, cluster: cluster, producer: producer))
            } catch {
                await producer.close(timeout: .zero)
                throw error
            }
            await producer.close(timeout: .seconds(5))
        }
    }

    func partition(_ number: Int32) -> TopicPartition {
        TopicPartition(topic: Topic.deliveryEvents.name, partition: number)
    }

    func incidents() async throws -> [String] {
        try await rig.database.query("SELECT part, reason FROM projector_incident ORDER BY part, incarnation").map {
            "\(try $0.int("part")) \(try $0.string("reason"))"
        }
    }

    func home(of recipient: Int32) -> Int {
        Murmur2.partition(of: rig.event(recipient, .sent, "").key, count: Topic.deliveryEvents.partitions)
    }

    func watermarks(_ number: Int32) async throws -> (low: Int64, high: Int64) {
        let consumer = try KafkaConsumer(cluster.configuration, groupID: nil)
        let marks = try await consumer.leaderWatermarks(partition(number), timeout: .seconds(60))
        await consumer.close()
        return marks
    }

    /// - Parameter padding: white space in each document, which readers ignore.
    func produce(_ events: [DeliveryEvent], padding: Int = 0) async throws {
        try await producer.send(
            try events.map { event in
                ProducerRecord(
                    topic: Topic.deliveryEvents.name, key: event.key,
                    value: [UInt8(ascii: "{")] + Array(repeating: UInt8(ascii: " "), count: padding)
                        + (try event.value().dropFirst()),
                    headers: event.attributes.headers.map { KafkaHeader(name: $0.name, text: $0.value) })
            })
    }

    /// The mock waits three seconds for further members and forgets who is silent for its session.
    func startProjector(_ name: String, _ settings: [String: String] = [:]) throws -> ServiceProcess {
        try rig.startProjector(
            name,
            [
                "ROLLCALL_KAFKA_BOOTSTRAP": cluster.bootstrap,
                "ROLLCALL_KAFKA_CLIENT_OVERRIDES": "session.timeout.ms=6000",
            ].merging(settings) { $1 })
    }
}
