import Contracts
import Delivery
import Foundation
import Kafka
import Postgres
import TestKit
import Testing

@testable import status_projector

/// Thousands of small random histories, each told twice in different orders and batches, through the projector's own
/// decoding, fold and SQL. `ROLLCALL_TEST_SEED` names the first history (1), `ROLLCALL_TEST_SEEDS` how many (2000; 1
/// when the first is named).
@Suite struct `Random histories` {
    private static let environment = ProcessInfo.processInfo.environment
    private static let firstSeed = environment["ROLLCALL_TEST_SEED"].flatMap { Int($0) }
    private static let count =
        environment["ROLLCALL_TEST_SEEDS"].flatMap { Int($0) } ?? (firstSeed == nil ? 2000 : 1)

    @Test func `leave the tables that an independent fold expects, in any order, split, repetition and takeover`()
        async throws
    {
        let cases = try await Reference.cases(from: Self.firstSeed ?? 1, count: Self.count)
        try #require(cases.count == Self.count)
        try await Self.tell(cases, in: "histories") { try await expect($0, agreesWith: cases) }
    }

    /// Six random records of two deliveries: every batch from one record to all of them, wherever it begins.
    @Test func `leave the same tables and the same log however the records are split into batches`() async throws {
        var cases: [HistoryCase] = []
        for seed in 4...7 { cases.append(try await Reference.splits(seed: seed, recipients: 2, records: 6)) }
        for history in cases { try #require(history.orders.count == 32 && Set(history.logs).count == 1) }
        try await Self.tell(cases, in: "splits") { tables in
            let hashes = try await tables.hashes()
            for history in cases {
                for (order, batches) in history.orders.enumerated() {
                    let found = hashes[HistoryTables.Told(seed: history.seed, order: order)]
                    #expect(
                        found?.state == history.state && found?.log == history.logs[0],
                        "seed \(history.seed) in batches \(batches)")
                }
            }
        }
    }

    /// Tells every order of the cases to tables of their own, and then looks at these.
    private static func tell(
        _ cases: [HistoryCase], in name: String, then check: (HistoryTables) async throws -> Void
    ) async throws {
        let stack = try await LocalStack.shared()
        let database = try await stack.database(name)
        let tables = HistoryTables(owner: PostgresPool(database.owner, size: 1))
        // Nothing crashes here, and waiting for the disk is most of the time.
        _ = try await tables.owner.query("ALTER DATABASE \(database.name) SET synchronous_commit = off")
        let blasts = try await tables.insert(cases)
        let projector = PostgresPool(database.role("rollcall_projector"), size: 4)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for share in 0..<4 {
                group.addTask {
                    for history in cases where history.seed % 4 == share {
                        for order in history.orders.indices {
                            let told = HistoryTables.Told(seed: history.seed, order: order)
                            try await tell(history, told, blasts[told] ?? [], projector)
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        try await check(tables)
        #expect(try await tables.violations() == [:])
        await projector.close()
        await tables.owner.close()
    }

    private func expect(_ tables: HistoryTables, agreesWith cases: [HistoryCase]) async throws {
        let hashes = try await tables.hashes()
        for history in cases {
            for order in history.orders.indices {
                let told = HistoryTables.Told(seed: history.seed, order: order)
                let found = hashes[told]
                guard found?.state != history.state || found?.log != history.logs[order] else { continue }
                let difference = try await Reference.difference(
                    seed: history.seed, order: order, try await tables.rows(of: told))
                Issue.record(
                    "order \(order) of seed \(history.seed) (ROLLCALL_TEST_SEED=\(history.seed)): \(difference)")
            }
        }
    }

    /// Commits the batches of one order as their owner does, with owners that come and go: an earlier owner, and a batch
    /// that is committed already, are refused. In every order but the first a batch is folded while the one before is not
    /// committed yet, and what was folded for an earlier state of the tables is refused.
    ///
    /// A quarter is told to the workers instead. The topic has one partition here, so that a history is one order.
    private static func tell(
        _ history: HistoryCase, _ told: HistoryTables.Told, _ blasts: [BlastID], _ pool: PostgresPool
    ) async throws {
        let store = ProjectionStore(projection: told.projection, topic: Topic.deliveryEvents.name, database: pool)
        var random = SeededGenerator(seed: UInt64(told.seed * 2 + told.order))
        if history.seed / 4 % 4 == 0 {
            let records = history.orders[told.order].flatMap(\.self).enumerated().map { offset, position in
                history.consumed(position, offset: Int64(offset), part: 0, blasts)
            }
            return try await WorkerTelling(store: store, records: records, name: told.projection).run(using: &random)
        }
        var ownership = try await store.acquire(part: 0, clusterID: "cluster")
        var offset = ownership.nextOffset
        let batches = history.orders[told.order].map { positions in
            let records = positions.enumerated().map { index, position in
                history.consumed(position, offset: offset + Int64(index), part: 0, blasts)
            }
            offset += Int64(records.count)
            return ReadBatch(records, partitions: 1)
        }
        var ahead: ProjectionStore.Prepared?
        for (index, batch) in batches.enumerated() {
            if Int.random(in: 0..<8, using: &random) == 0 {
                let zombie = ownership
                ownership = try await store.acquire(part: 0, clusterID: "cluster")
                await #expect(throws: ProjectionStore.Fenced.self, "seed \(told.seed): an earlier owner was not fenced")
                {
                    _ = try await store.commit(batch, by: zombie, published: 0)
                }
            }
            var prepared: ProjectionStore.Prepared?
            if told.order > 0 {
                let ready = if let ahead { ahead } else { try await store.prepare(batch, by: ownership) }
                let isLast = index + 1 == batches.count
                ahead = isLast ? nil : try await store.prepare(batches[index + 1], by: ownership, after: ready.fold)
                prepared = ready
            }
            let fold = try await store.commit(batch, prepared: prepared, by: ownership, published: 0)
            if Int.random(in: 0..<8, using: &random) == 0 {
                await #expect(throws: ProjectionStore.Fenced.self, "seed \(told.seed): a batch was committed twice") {
                    _ = try await store.commit(batch, by: ownership, published: 0)
                }
            }
            ownership.nextOffset = batch.tail.nextOffset
            ownership.seq = fold.seq
            if let prepared, prepared.fold.seq > prepared.fold.startSeq {
                await #expect(throws: ProjectionStore.Fenced.self, "seed \(told.seed): an old fold was written") {
                    _ = try await store.commit(batch, prepared: prepared, by: ownership, published: 0)
                }
            }
        }
    }
}
