import Contracts
import Delivery
import Foundation
import Glibc
import Kafka
import Postgres
import TestKit
import Testing

@testable import status_projector

/// Owners that were stopped for longer than their session and wake up.
@Suite(.serialized) struct `A stopped owner` {
    /// Stopped between two statements it holds the fence row, which its heir needs.
    @Test func `is rolled back in the middle of a transaction, writes nothing when it wakes up, and can serve again`()
        async throws
    {
        let seed = RunSeed.take()
        try await ProjectorRig.with("projector-stopped") { rig in
            let history = try await rig.insertHistory(seed: seed, recipients: 40, records: 900)
            let records = history.produced([rig.blast])
            let third = records.count / 3
            let zombie = try rig.startProjector("zombie")
            try await rig.produce(records: Array(records[..<third]))
            try await rig.waitUntilProjected(third)

            let blocker = PostgresConnection(rig.databaseOf.owner, name: "blocker")
            try await blocker.connect()
            try await blocker.begin()
            _ = try await blocker.query("SELECT FROM delivery_status FOR UPDATE")
            try await rig.produce(records: Array(records[third..<(2 * third)]))
            try await eventually("the zombie waits for a row in the middle of its transaction") {
                try await rig.number(
                    """
                    SELECT count(*) FROM pg_stat_activity
                     WHERE usename = 'rollcall_projector' AND wait_event_type = 'Lock' AND query LIKE '%UPDATE%'
                    """) > 0
            }
            try await zombie.suspend()
            try await blocker.rollback()
            await blocker.close()

            let heir = try rig.startProjector("heir")
            try await rig.waitUntilProjected(2 * third)
            let rows = try await rig.number("SELECT count(*) FROM delivery_log")
            zombie.signal(SIGCONT)
            // Its connection has gone, or its lane was the first to meet the fence.
            try await eventually("the zombie notices") {
                let log = try zombie.logText()
                return log.contains("projecting fails") || log.contains("fenced by another owner")
            }
            #expect(try await rig.number("SELECT count(*) FROM delivery_log") == rows)
            try await rig.produce(records: Array(records[(2 * third)...]))
            try await rig.waitUntilProjected(records.count)
            try await rig.expectTables(agreeWith: history)
            #expect(try await heir.terminate() == 0)
            #expect(try await zombie.terminate() == 0)
        }
    }

    /// The statements it may still send, one by one, straight to the database.
    @Test func `has every write refused by the fence`() async throws {
        let stack = try await LocalStack.shared()
        let database = try await stack.database("fence")
        let pool = PostgresPool(database.role("rollcall_projector"), size: 2)
        let store = ProjectionStore(projection: "fence", topic: Topic.deliveryEvents.name, database: pool)
        let zombie = try await store.acquire(part: 0, clusterID: "cluster")
        let heir = try await store.acquire(part: 0, clusterID: "cluster")
        #expect(heir.epoch == zombie.epoch + 1)
        let records = [
            ConsumerRecord(
                topicPartition: TopicPartition(topic: Topic.deliveryEvents.name, partition: 0), offset: 0,
                timestampMs: 0, key: nil, value: nil, headers: [])
        ]
        await #expect(throws: ProjectionStore.Fenced.self) {
            _ = try await store.commit(ReadBatch(records), by: zombie, published: 0)
        }
        await #expect(throws: ProjectionStore.Fenced.self) {
            _ = try await store.hasCommitted(upTo: 1, by: zombie)
        }
        await #expect(throws: ProjectionStore.Fenced.self) { try await store.markRepublished(nil, by: zombie) }
        await #expect(throws: ProjectionStore.Fenced.self) {
            _ = try await store.acquire(
                part: 0, clusterID: "cluster", restart: .init(reason: "found", epoch: zombie.epoch))
        }
        #expect(try await store.markPublished(7, by: zombie) == false)
        #expect(try await pool.query("SELECT FROM dead_letter").count == 0)
        let fold = try await store.commit(ReadBatch(records), by: heir, published: 0)
        #expect(fold.seq == 0)
        #expect(try await pool.query("SELECT FROM dead_letter").count == 1)
        #expect(try await pool.query("SELECT FROM projector_incident").count == 0)
        let restarted = try await store.acquire(
            part: 0, clusterID: "cluster", restart: .init(reason: "found", epoch: heir.epoch))
        #expect(restarted.incarnation == heir.incarnation + 1)
        await pool.close()
    }
}
