import Contracts
import Delivery
import Foundation
import Kafka
import Postgres
import TestKit
import Testing

/// A stack, a blast, and projectors to abuse.
final class ProjectorRig {
    let stack: LocalStack
    let databaseOf: TestDatabase
    let database: PostgresPool
    private(set) var blast = BlastID(high: 0, low: 0)
    private var recipients: Int32 = 0
    private var producer: KafkaProducer
    private var started: [ServiceProcess] = []

    static func with(_ name: String, _ body: (ProjectorRig) async throws -> Void) async throws {
        let stack = try await LocalStack.start(name)
        do {
            let rig = try await ProjectorRig(stack)
            do {
                try await body(rig)
            } catch {
                for process in rig.started { print("--- \(process.name)\n\(try process.logText().suffix(3000))") }
                await rig.stop()
                throw error
            }
            await rig.stop()
        } catch {
            try await stack.stop()
            throw error
        }
        try await stack.stop()
    }

    private init(_ stack: LocalStack) async throws {
        self.stack = stack
        databaseOf = try await stack.database("projector")
        database = PostgresPool(databaseOf.owner, size: 2)
        producer = try KafkaProducer(stack.kafka(), messageTimeout: nil)
        try await stack.createTopics()
    }

    private func stop() async {
        for process in started where process.isRunning { try? await process.kill() }
        await producer.close(timeout: .seconds(2))
        await database.close()
    }

    /// A producer does not learn that its broker is another one than before.
    func reconnect() async throws {
        await producer.close(timeout: .seconds(2))
        producer = try KafkaProducer(stack.kafka(), messageTimeout: nil)
    }

    func startProjector(_ name: String, _ more: [String: String] = [:]) throws -> ServiceProcess {
        let process = try ServiceProcess(
            "status-projector",
            environment: databaseOf.environment.merging([
                "ROLLCALL_KAFKA_CLIENT_OVERRIDES": "session.timeout.ms=2000,heartbeat.interval.ms=500",
                "ROLLCALL_PROJECTOR_BATCH_MAX": "97", "ROLLCALL_PROJECTOR_CLUSTER_CHECK": "500ms",
            ]) { $1 }.merging(more) { $1 }, folder: stack.stateFolder, name: "projector-\(name)")
        started.append(process)
        return process
    }

    /// One blast of district 1 whose recipients are all pending, as intake leaves it.
    func insertBlast(recipients: Int32) async throws {
        self.recipients = recipients
        let row = try await database.query(
            """
            WITH d AS (INSERT INTO district (district_id, name) VALUES (1, 'Testville') RETURNING district_id),
                 b AS (INSERT INTO blast (blast_id, district_id, subject, text_template, from_address, in_doubt_policy,
                                          state, send_requested_at, audience, created_by)
                       SELECT mint_blast_id(), district_id, 's', 't', 'a@b.example', 'at_most_once', 'sending', now(),
                              $1, 'test' FROM d RETURNING blast_id, district_id),
                 s AS (INSERT INTO delivery_status (blast_id, recipient_no, district_id)
                       SELECT blast_id, n, district_id FROM b, generate_series(1, $1::int) n),
                 c AS (INSERT INTO blast_count SELECT blast_id, -1, 1, district_id, $1 FROM b)
            SELECT blast_id FROM b
            """, [.int(Int64(recipients))]
        ).first
        let id = try #require(row).uuid("blast_id")
        blast = BlastID(high: id.high, low: id.low)
    }

    /// A status row that comes after its first event.
    func insertRow(_ delivery: DeliveryID) async throws {
        _ = try await database.query(
            "INSERT INTO delivery_status (blast_id, recipient_no, district_id) VALUES ($1, $2, 1)",
            [.uuid(high: delivery.blast.high, low: delivery.blast.low), .int4(delivery.recipientNumber)])
    }

    func event(_ number: Int32, _ fact: DeliveryFact, _ id: String, attempt: Int32? = nil) -> DeliveryEvent {
        DeliveryEvent(
            id: id, source: "/test", delivery: DeliveryID(blast: blast, recipientNumber: number),
            district: DistrictID(1), fact: fact, occurredAtMicroseconds: 1_790_000_000_000_000,
            attempt: attempt.map { .init(number: $0, atMicroseconds: 1_790_000_000_000_000) }, evidence: "250 2.0.0 OK")
    }

    /// Events of random facts for random deliveries, a tenth of them said twice.
    func randomEvents(_ count: Int, using random: inout SeededGenerator) -> [DeliveryEvent] {
        var events: [DeliveryEvent] = []
        while events.count < count {
            if let earlier = events.randomElement(using: &random), Int.random(in: 0..<10, using: &random) == 0 {
                events.append(earlier)
                continue
            }
            events.append(
                event(
                    Int32.random(in: 1...recipients, using: &random),
                    DeliveryFact.allCases.randomElement(using: &random) ?? .sent, "e\(events.count)",
                    attempt: Bool.random(using: &random) ? Int32.random(in: 1...5, using: &random) : nil))
        }
        return events
    }

    func produce(_ events: [DeliveryEvent]) async throws {
        try await produce(
            records: try events.map { event in
                ProducerRecord(
                    topic: Topic.deliveryEvents.name, key: event.key, value: try event.value(),
                    headers: event.attributes.headers.map { KafkaHeader(name: $0.name, text: $0.value) })
            })
    }

    func produce(records: [ProducerRecord]) async throws { try await producer.send(records) }

    func number(_ sql: String) async throws -> Int64 {
        try await database.query(sql).first?[0].optionalInt() ?? 0
    }

    func epochs() async throws -> [Int64: Int64] {
        var epochs: [Int64: Int64] = [:]
        for row in try await database.query("SELECT part, epoch FROM projector_partition") {
            epochs[try row.int("part")] = try row.int("epoch")
        }
        return epochs
    }

    /// Waits until the topic's `count` records are projected and everything committed is published.
    func waitUntilProjected(_ count: Int, within deadline: Duration = .seconds(240)) async throws {
        _ = try await eventually("\(count) records are projected and published", within: deadline) {
            try await number(
                "SELECT sum(next_offset) - sum(seq - published_seq) * 1000000 FROM projector_partition")
        } until: {
            $0 == Int64(count)
        }
    }

    /// Table, counters, log and topic against a plain union of what was said.
    func expectEverythingAgrees(with events: [DeliveryEvent]) async throws {
        var facts: [DeliveryID: DeliveryFacts] = [:]
        var attempts: [DeliveryID: Int32] = [:]
        for event in events {
            facts[event.delivery] = (facts[event.delivery] ?? .initial).union(event.fact)
            attempts[event.delivery] = max(attempts[event.delivery] ?? 0, event.attempt?.number ?? 0)
        }
        var stored: [DeliveryID: (facts: DeliveryFacts, attempts: Int32)] = [:]
        for row in try await database.query("SELECT recipient_no, facts, attempts FROM delivery_status") {
            stored[DeliveryID(blast: blast, recipientNumber: try row.int32("recipient_no"))] = (
                DeliveryFacts(bits: try row.int("facts")), try row.int32("attempts")
            )
        }
        #expect(stored.count == Int(recipients))
        for (delivery, state) in stored {
            #expect(state.facts == facts[delivery] ?? .initial, "\(delivery)")
            #expect(state.attempts == attempts[delivery] ?? 0, "\(delivery)")
        }
        var counted: [DeliveryFacts: Int64] = [:]
        for state in stored.values { counted[state.facts, default: 0] += 1 }
        for row in try await database.query("SELECT facts, sum(n) AS n FROM blast_count GROUP BY facts") {
            let set = DeliveryFacts(bits: try row.int("facts"))
            #expect(try row.int("n") == counted[set] ?? 0, "counter of \(set.names)")
        }
        #expect(try await number("SELECT sum(n) FROM blast_count") == Int64(recipients))
        try await expectNoGap()
        try await expectTopicAgrees()
    }
}
