import Contracts
import Delivery
import Kafka
import Postgres
import TestKit
import Testing

/// Real processes, real broker, real database, on a stack of their own.
@Suite(.serialized) struct `The guard as a process` {
    @Test func `kills between commit, publication and mark lose no chunk and decide nothing twice`() async throws {
        try await with("guard-kills") { stack, database, owner in
            let environment = environment(of: database)
            let blast = try await insertBlast(owner, recipients: 600, chunkSize: 20)
            let producer = try KafkaProducer(stack.kafka(), messageTimeout: nil)
            try await producer.send(try requests(blast, chunks: 1...30, size: 20))
            for point in ["guard.after-screen:3", "guard.after-publish:1", "guard.after-screen:2"] {
                let doomed = try ServiceProcess(
                    "blacklist-guard", environment: environment.merging(["ROLLCALL_FAULT_POINT": point]) { $1 },
                    folder: stack.stateFolder, name: "doomed")
                #expect(try await doomed.ended(within: .seconds(120)) == 9, "\(point)")
            }
            var guards: [ServiceProcess] = []
            for name in ["a", "b"] {
                guards.append(
                    try ServiceProcess(
                        "blacklist-guard", environment: environment, folder: stack.stateFolder, name: name))
            }
            try await eventually("every chunk is reported") {
                try await count(owner, "SELECT count(*) AS n FROM screened_chunk WHERE reported_at IS NOT NULL") == 30
            }
            for process in guards { #expect(try await process.terminate() == 0) }
            await producer.close(timeout: .seconds(2))

            let cleared = try await stack.readAll(.chunksCleared).map {
                try ChunkMessage(value: $0.value ?? [], header: $0.header)
            }
            #expect(Set(cleared.map(\.chunkNumber)) == Set(1...30))
            #expect(cleared.allSatisfy { $0.lastRecipient == $0.firstRecipient + 19 && $0.blast == blast })
            var facts: [DeliveryID: Set<DeliveryFact>] = [:]
            for record in try await stack.readAll(.deliveryEvents) {
                let event = try DeliveryEvent(value: record.value ?? [], header: record.header)
                facts[event.delivery, default: []].insert(event.fact)
            }
            let expected = (1...600).filter { $0.isMultiple(of: 5) }.map {
                DeliveryID(blast: blast, recipientNumber: Int32($0))
            }
            #expect(facts == Dictionary(uniqueKeysWithValues: expected.map { ($0, [.noAddress]) }))
        }
    }

    @Test func `an emptied broker is read anew, and freshness is not claimed meanwhile`() async throws {
        try await with("guard-broker") { stack, database, owner in
            let process = try ServiceProcess(
                "blacklist-guard", environment: environment(of: database), folder: stack.stateFolder, name: "guard")
            try await eventually("fresh") { try await isFresh(owner) }
            try await stack.killBroker()
            try await eventually("stale without a broker") { try await !isFresh(owner) }
            try await stack.startBroker()
            try await stack.createTopics()
            let blast = try await insertBlast(owner, recipients: 20, chunkSize: 20)
            let producer = try KafkaProducer(stack.kafka(), messageTimeout: nil)
            try await producer.send(try requests(blast, chunks: 1...1, size: 20))
            let bounce = DeliveryEvent(
                id: "webhook/1", source: "/rollcall/event-ingester",
                delivery: DeliveryID(blast: blast, recipientNumber: 1), district: DistrictID(1), fact: .bounced,
                occurredAtMicroseconds: 1_790_000_000_000_000)
            try await producer.send([
                ProducerRecord(
                    topic: Topic.deliveryEvents.name, key: bounce.key, value: try bounce.value(),
                    headers: headers(bounce.attributes))
            ])
            await producer.close(timeout: .seconds(2))
            try await eventually("fresh again") { try await isFresh(owner) }
            try await eventually("learned and reported") {
                try await count(owner, "SELECT count(*) AS n FROM blacklist WHERE reported_at IS NOT NULL") == 1
            }
            try await eventually("screened and reported") {
                try await count(owner, "SELECT count(*) AS n FROM screened_chunk WHERE reported_at IS NOT NULL") == 1
            }
            // The projector notices the new history; the guard has everything published into it again.
            let published = try await stack.readAll(.blacklist).count
            _ = try await owner.query(
                """
                INSERT INTO projector_partition (projection, topic, part, cluster_id, incarnation)
                VALUES ('main', 'rollcall.delivery.events.v1', 0, 'new', 2)
                """)
            _ = try await eventually(
                "published again", { try await stack.readAll(.blacklist).count },
                until: { $0 > published })
            #expect(try await process.terminate() == 0)
        }
    }

    @Test func `what an emptied broker took away is learned from the database before freshness is claimed`()
        async throws
    {
        try await with("guard-forgotten") { stack, database, owner in
            let blast = try await insertBlast(owner, recipients: 20, chunkSize: 20)
            let first = try ServiceProcess(
                "blacklist-guard", environment: environment(of: database), folder: stack.stateFolder, name: "first")
            try await eventually("fresh") { try await isFresh(owner) }
            try await first.kill()
            // The projector folded a bounce that the guard never read, and the sender will not say it again.
            try await fold(.bounced, of: blast, recipient: 1, seq: 1, owner)
            try await stack.restartBroker()
            try await stack.createTopics()
            try await eventually("stale") { try await !isFresh(owner) }
            let second = try ServiceProcess(
                "blacklist-guard", environment: environment(of: database), folder: stack.stateFolder, name: "second")
            try await eventually("fresh again") { try await isFresh(owner) }
            #expect(try await count(owner, "SELECT count(*) AS n FROM blacklist WHERE active") == 1)

            // Folded by a projector that noticed the new broker later than the guard did.
            try await fold(.complained, of: blast, recipient: 2, seq: 3, owner)
            _ = try await owner.query(
                """
                INSERT INTO projector_partition (projection, topic, part, cluster_id, incarnation)
                VALUES ('main', 'rollcall.delivery.events.v1', 0, 'new', 2)
                """)
            try await eventually("learned as well") {
                try await count(owner, "SELECT count(*) AS n FROM blacklist WHERE active") == 2
            }
            #expect(try await second.terminate() == 0)
        }
    }

    // MARK: Rig

    /// Leaves a delivery that was sent and then came to this fact, as the projector would.
    private func fold(
        _ fact: DeliveryFact, of blast: BlastID, recipient: Int32, seq: Int64, _ owner: PostgresPool
    ) async throws {
        _ = try await owner.query(
            """
            WITH s AS (INSERT INTO delivery_status (blast_id, recipient_no, district_id, facts, part, last_seq)
                       VALUES ($1, $2::int, 1, 1 | (1 << 20) | (1::bigint << $3::int), 0, $4::bigint + 1)),
                 p AS (INSERT INTO delivery_problem (blast_id, fact, recipient_no, district_id)
                       VALUES ($1, $3::int, $2::int, 1))
            INSERT INTO delivery_log (blast_id, part, seq, prev_seq, recipient_no, district_id, incarnation, event_id,
                                      source, fact, facts, attempts, changed_at, occurred_at, recorded_at)
            VALUES ($1, 0, $4::bigint, NULL, $2::int, 1, 1, 'sender/1', '/rollcall/sender', 20, 1 | (1 << 20), 1, now(),
                    now(), now()),
                   ($1, 0, $4::bigint + 1, $4::bigint, $2::int, 1, 1, 'webhook/1', '/rollcall/event-ingester', $3::int,
                    1 | (1 << 20) | (1::bigint << $3::int), 1, now(), now(), now())
            """, [.uuid((blast.high, blast.low)), .int4(recipient), .int4(Int32(fact.rawValue)), .int(seq)])
    }

    private func with(
        _ name: String, _ body: (LocalStack, TestDatabase, PostgresPool) async throws -> Void
    ) async throws {
        let stack = try await LocalStack.start(name)
        do {
            let database = try await stack.database("guard")
            let owner = PostgresPool(database.owner, size: 2)
            try await stack.createTopics()
            try await body(stack, database, owner)
            await owner.close()
        } catch {
            try await stack.stop()
            throw error
        }
        try await stack.stop()
    }

    private func environment(of database: TestDatabase) -> [String: String] {
        database.environment.merging([
            "ROLLCALL_KAFKA_CLIENT_OVERRIDES": "session.timeout.ms=2000,heartbeat.interval.ms=500",
            "ROLLCALL_GUARD_CLUSTER_CHECK": "500ms", "ROLLCALL_GUARD_WATCH_INTERVAL": "500ms",
        ]) { $1 }
    }

    /// Every fifth recipient has no address.
    private func insertBlast(_ owner: PostgresPool, recipients: Int32, chunkSize: Int32) async throws -> BlastID {
        let words = try await owner.query(
            """
            WITH d AS (INSERT INTO district (district_id, name) VALUES (1, 'Testville') RETURNING district_id),
                 b AS (INSERT INTO blast (blast_id, district_id, subject, text_template, from_address, in_doubt_policy,
                                          state, send_requested_at, audience, created_by)
                       SELECT mint_blast_id(), district_id, 's', 't', 'a@b.example', 'at_most_once', 'sending', now(),
                              $1, 'test' FROM d RETURNING blast_id, district_id),
                 r AS (INSERT INTO recipient (blast_id, recipient_no, district_id, line_no, address, address_hash,
                                              fault)
                       SELECT blast_id, n, district_id, n, n || '@x.example',
                              CASE WHEN n % 5 <> 0 THEN sha256(int4send(n)) END, CASE WHEN n % 5 = 0 THEN 6 END
                         FROM b, generate_series(1, $1::int) n),
                 c AS (INSERT INTO chunk (blast_id, chunk_no, district_id, class, first_no, last_no)
                       SELECT blast_id, n / $2 + 1, district_id, 'general', n + 1, n + $2
                         FROM b, generate_series(0, $1::int - 1, $2::int) n)
            SELECT blast_id FROM b
            """, [.int4(recipients), .int4(chunkSize)])[0].uuid("blast_id")
        return BlastID(high: words.high, low: words.low)
    }

    private func requests(_ blast: BlastID, chunks: ClosedRange<Int32>, size: Int32) throws -> [ProducerRecord] {
        try chunks.map { number in
            let message = ChunkMessage(
                stage: .requested, blast: blast, district: DistrictID(1), chunkNumber: number,
                firstRecipient: (number - 1) * size + 1, lastRecipient: number * size, isEmergency: false,
                atMicroseconds: 1_790_000_000_000_000)
            return ProducerRecord(
                topic: message.topic.name, key: message.key, value: try message.value(),
                headers: headers(message.attributes))
        }
    }

    private func headers(_ attributes: CloudEventAttributes) -> [KafkaHeader] {
        attributes.headers.map { KafkaHeader(name: $0.name, text: $0.value) }
    }

    private func count(_ owner: PostgresPool, _ sql: String) async throws -> Int64 {
        try await owner.query(sql)[0].int("n")
    }

    private func isFresh(_ owner: PostgresPool) async throws -> Bool {
        try await owner.query(
            """
            SELECT count(*) = 4 AND min(caught_up_at) > clock_timestamp() - interval '4 seconds' AS fresh
              FROM guard_progress
            """)[0].bool("fresh")
    }
}
