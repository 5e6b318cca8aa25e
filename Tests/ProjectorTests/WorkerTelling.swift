import Contracts
import Delivery
import Kafka
import Postgres
import Runtime
import Synchronization
import TestKit
import Testing

@testable import status_projector

/// One order of a history, told to the workers of a partition as the consumer tells it: in steps of pieces, with or
/// without what comes next, with owners that come and go, and read again from their tails.
struct WorkerTelling: Sendable {
    let store: ProjectionStore
    let records: [ConsumerRecord]
    let name: String
    let published = PublishedStatuses()

    /// The seqs of status records in the order in which they reached the broker.
    final class PublishedStatuses: Sendable {
        private let seqs = Mutex<[Int64]>([])
        var all: [Int64] { seqs.withLock(\.self) }

        func add(_ records: [ProducerRecord]) throws {
            let read = try records.map { try DeliveryStatusRecord(value: $0.value ?? []).seq }
            seqs.withLock { $0 += read }
        }
    }

    func take() async throws -> PartitionWorker {
        let published = published
        let worker = PartitionWorker(
            try await store.acquire(part: 0, clusterID: "cluster"), store: store,
            publisher: StatusPublisher(send: { try published.add($0) }), metrics: ProjectorMetrics(Metrics()),
            tailDeadline: .seconds(60))
        try await worker.recover()
        return worker
    }

    /// A blast with all its deliveries on one partition: the histories are told to a topic that has only one.
    static func piece(_ records: some Collection<ConsumerRecord>) -> Piece {
        Piece(ArraySlice(records), partitions: 1)
    }

    func run(using random: inout SeededGenerator) async throws {
        var worker = try await take()
        var position = 0
        while position < records.count {
            if Int.random(in: 0..<6, using: &random) == 0 {
                let zombie = worker
                worker = try await take()
                try await refuse(zombie)
                position = await worker.isAwaitingTail ? Int(worker.ownership.nextOffset) - 1 : 0
                if await worker.isAwaitingTail, Bool.random(using: &random) {
                    try await expectRestart(worker, at: position)
                }
            } else if Int.random(in: 0..<6, using: &random) == 0, await !worker.isAwaitingTail {
                // Told again from earlier on.
                position = Int.random(in: 0...position, using: &random)
            }
            var pieces = self.pieces(from: position, using: &random)
            let following = pieces.count > 1 && Bool.random(using: &random) ? pieces.removeLast().batch : nil
            for (index, piece) in pieces.enumerated() {
                let next = index + 1 < pieces.count ? pieces[index + 1].batch : following
                #expect(try await worker.project(piece) { next } == .projected, "\(name)")
            }
            position += pieces.map(\.records.count).reduce(0, +)
            if Int.random(in: 0..<4, using: &random) == 0 { try await worker.flush() }
        }
        try await worker.flush()
        try await expectEveryVersion(upTo: worker.ownership.seq)
    }

    private func pieces(from position: Int, using random: inout SeededGenerator) -> [Piece] {
        var rest = records[position...]
        var pieces: [Piece] = []
        for _ in 0..<Int.random(in: 1...4, using: &random) where !rest.isEmpty {
            let count = Int.random(in: 1...9, using: &random)
            pieces.append(Self.piece(rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        return pieces
    }

    /// An earlier owner with work at hand.
    private func refuse(_ zombie: PartitionWorker) async throws {
        let next = await zombie.ownership.nextOffset
        guard await !zombie.isAwaitingTail, next < records.count else { return }
        await #expect(throws: ProjectionStore.Fenced.self, "\(name)") {
            _ = try await zombie.project(Self.piece(records[Int(next)...])) { nil }
        }
    }

    private func expectRestart(_ worker: PartitionWorker, at position: Int) async throws {
        let ours = records[position]
        let other = ConsumerRecord(
            topicPartition: ours.topicPartition, offset: ours.offset, timestampMs: ours.timestampMs, key: ours.key,
            value: ours.value, headers: [KafkaHeader(name: "ce_id", text: "another")])
        let outcome = try await worker.project(Self.piece([other] + records[(position + 1)...])) { nil }
        #expect(outcome == .historyRestarted, "\(name)")
        #expect(await worker.isAwaitingTail)
    }

    /// Each version was published, none before the one before it.
    private func expectEveryVersion(upTo last: Int64) async throws {
        var newest: Int64 = 0
        for seq in published.all {
            if seq > newest + 1 { Issue.record("\(name): \(seq) was published after \(newest)") }
            newest = max(newest, seq)
        }
        #expect(newest == last, "\(name)")
    }
}

@Suite struct `A worker` {
    @Test func `does not use what it folded ahead for other records at the same offsets`() async throws {
        let stack = try await LocalStack.shared()
        let database = try await stack.database("ahead")
        let tables = HistoryTables(owner: PostgresPool(database.owner, size: 1))
        let history = try await Reference.history(seed: 1, recipients: 9, records: 1)
        let blasts = try await tables.insert([history])
        let blast = try #require(blasts.values.first?.first)
        let pool = PostgresPool(database.role("rollcall_projector"), size: 4)
        let telling = WorkerTelling(
            store: ProjectionStore(projection: "ahead", topic: Topic.deliveryEvents.name, database: pool), records: [],
            name: "ahead")
        let worker = try await telling.take()
        func record(_ offset: Int64, _ number: Int32, _ id: String) throws -> ConsumerRecord {
            let event = DeliveryEvent(
                id: id, source: "/test", delivery: DeliveryID(blast: blast, recipientNumber: number),
                district: DistrictID(1), fact: .sent, occurredAtMicroseconds: 1_790_000_000_000_000)
            return ConsumerRecord(
                topicPartition: TopicPartition(topic: Topic.deliveryEvents.name, partition: 0), offset: offset,
                timestampMs: 0, key: event.key, value: try event.value(),
                headers: event.attributes.headers.map { KafkaHeader(name: $0.name, text: $0.value) })
        }
        let promised = WorkerTelling.piece([try record(1, 2, "promised")])
        _ = try await worker.project(WorkerTelling.piece([try record(0, 1, "first")])) { promised.batch }
        _ = try await worker.project(WorkerTelling.piece([try record(1, 3, "another")])) { nil }
        let told = try await pool.query("SELECT recipient_no FROM delivery_log ORDER BY seq").map { try $0[0].int32() }
        #expect(told == [1, 3])
        await pool.close()
        await tables.owner.close()
    }
}
