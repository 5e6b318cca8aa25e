import Contracts
import Delivery
import Kafka
import Logging
import Postgres
import Runtime

/// One owned partition: projects its records and publishes what they changed.
///
/// While a batch is committed the previous one is published, so that broker and database work at the same time and at
/// most one batch is committed but unpublished. Any error leaves the rest to the next acquisition, which starts from
/// the fence row.
actor PartitionWorker {
    private let store: ProjectionStore
    private let publisher: StatusPublisher
    private let metrics: ProjectorMetrics
    private(set) var ownership: Ownership
    private var unpublished: [DeliveryStatusRecord] = []
    /// The batch after the one committed last, folded while that was being committed.
    private var prepared: ProjectionStore.Prepared?
    private var publishedSeq: Int64
    private var markedSeq: Int64
    /// The record before the first one to project must be read again and be the one we remember.
    private(set) var isAwaitingTail: Bool
    private var tailDeadline: ContinuousClock.Instant
    private let tailPatience: Duration

    /// What a batch of records says about the history.
    enum Outcome: Sendable, Equatable {
        case projected
        /// The record before ours is not the one we projected: the history restarted.
        case historyRestarted
    }

    init(
        _ ownership: Ownership, store: ProjectionStore, publisher: StatusPublisher, metrics: ProjectorMetrics,
        tailDeadline: Duration
    ) {
        self.ownership = ownership
        self.store = store
        self.publisher = publisher
        self.metrics = metrics
        publishedSeq = ownership.publishedSeq
        markedSeq = ownership.publishedSeq
        isAwaitingTail = ownership.nextOffset > 0 && ownership.tailEventID != nil
        tailPatience = tailDeadline
        self.tailDeadline = .now + tailDeadline
    }

    var isTailOverdue: Bool { isAwaitingTail && tailDeadline < .now }

    /// Time during which the broker does not answer is not held against the topic.
    func postponeTailDeadline() { tailDeadline = .now + tailPatience }

    /// Nor is time in which nobody read, because the database kept the others waiting.
    func extendTailDeadline(by time: Duration) { tailDeadline += time }

    /// Where reading starts: one before the next record while the tail has to be checked.
    var start: StartOffset {
        if isAwaitingTail { return .offset(ownership.nextOffset - 1) }
        return ownership.nextOffset == 0 ? .beginning : .offset(ownership.nextOffset)
    }

    /// Retention removed the record before ours, and nothing after it: go on without the check.
    func skipTailCheck() { isAwaitingTail = false }

    /// Publishes what earlier owners committed and may not have published, before anything new.
    func recover() async throws {
        if ownership.needsFullRepublication {
            try await republishAll()
        } else {
            for batch in try await store.batches(of: ownership, after: ownership.publishedSeq) {
                try await publisher.publish(try await store.changes(in: batch, of: ownership))
            }
        }
        publishedSeq = ownership.seq
        try await markPublished()
    }

    /// An owner that was stopped may wake up and put old records on the topic behind newer ones. Readers ignore them, but
    /// on the compacted topic the last one stays: until nobody can wake up any more, the newest states are repeated.
    func tidy(zombieHorizon: Duration) async throws {
        for batch in try await store.suspectBatches(of: ownership) {
            try await flush()
            try await publisher.publish(try await store.newestStates(touchedBy: batch, of: ownership))
        }
        // Each at least once by every owner: a topic without a leader may have held records up beyond the horizon.
        try await store.forgetBatches(of: ownership, zombieHorizon: zombieHorizon)
    }

    /// Projects one transaction's records.
    ///
    /// - Parameter then: what comes after them, as far as it has been read; folded while these are committed.
    func project(
        _ piece: Piece, then: @escaping @Sendable () async -> ReadBatch?
    ) async throws -> Outcome {
        var records = piece.records
        if isAwaitingTail, let first = records.first {
            guard first.offset == ownership.nextOffset - 1, ReadBatch.identity(of: first) == ownership.tailEventID
            else { return .historyRestarted }
            isAwaitingTail = false
            records = records.dropFirst()
        }
        records = records.drop { $0.offset < ownership.nextOffset }
        guard let first = records.first else { return .projected }
        let batch = piece.batch.starting(at: first.offset)
        let fold = try await commitWhilePublishing(batch, then: then)
        FaultPoint.reach("projector.after-commit")
        ownership.nextOffset = batch.tail.nextOffset
        ownership.seq = fold.seq
        unpublished = fold.changes.map { DeliveryStatusRecord($0, incarnation: ownership.incarnation) }
        metrics.count(batch, fold)
        return .projected
    }

    /// Publishes what is still unpublished and records it.
    func flush() async throws {
        if !unpublished.isEmpty {
            try await publishPending()
            FaultPoint.reach("projector.after-publish")
        }
        try await markPublished()
    }

    var hasUnpublished: Bool { !unpublished.isEmpty || publishedSeq > markedSeq }

    private func commitWhilePublishing(
        _ batch: ReadBatch, then: @escaping @Sendable () async -> ReadBatch?
    ) async throws -> Fold {
        async let publication: Void = publishPending()
        do {
            let ready =
                if let prepared, prepared.batch.hasSameRecords(as: batch) { prepared } else {
                    try await store.prepare(batch, by: ownership)
                }
            prepared = nil
            async let next = prepare(then, after: ready.fold)
            let fold = try await commit(ready)
            prepared = await next
            try await publication
            return fold
        } catch {
            prepared = nil
            try? await publication
            throw error
        }
    }

    /// Nil when it cannot be done ahead; then it is tried when its turn comes.
    private func prepare(
        _ then: @Sendable () async -> ReadBatch?, after fold: Fold
    ) async -> ProjectionStore.Prepared? {
        guard let batch = await then() else { return nil }
        return try? await store.prepare(batch, by: ownership, after: fold)
    }

    /// One commit, tried again when the database says that it did not happen.
    private func commit(_ prepared: ProjectionStore.Prepared) async throws -> Fold {
        let batch = prepared.batch
        let started = ContinuousClock.now
        defer { metrics.batchSeconds.observe(.now - started) }
        // What the broker has acknowledged by now is recorded with the batch, so that a successor does not repeat it.
        let published = publishedSeq
        do {
            let fold = try await store.commit(batch, prepared: prepared, by: ownership, published: published)
            markedSeq = max(markedSeq, published)
            return fold
        } catch let error as PostgresError where error.code == .ambiguousCommit {
            metrics.ambiguousCommits.increment()
            guard try await store.hasCommitted(upTo: batch.tail.nextOffset, by: ownership) else {
                return try await store.commit(batch, prepared: prepared, by: ownership, published: published)
            }
            // Durable, but the changes are only in the log now: the next acquisition publishes them from there.
            throw error
        }
    }

    private func publishPending() async throws {
        let records = unpublished
        try await publisher.publish(records)
        unpublished = []
        if let last = records.last { publishedSeq = max(publishedSeq, last.seq) }
        metrics.published.increment(by: records.count)
    }

    private func markPublished() async throws {
        guard publishedSeq > markedSeq else { return }
        let seq = publishedSeq
        guard try await store.markPublished(seq, by: ownership) else { throw ProjectionStore.Fenced() }
        markedSeq = seq
    }

    /// The status topic may have been emptied with the events: everything still kept is published again under the new
    /// incarnation.
    private func republishAll() async throws {
        for blast in try await store.keptBlasts(after: try await store.republishedBlast(ownership)) {
            var after: Int32 = 0
            while true {
                let page = try await store.newestStates(of: blast, after: after, limit: 5000, ownership)
                guard let last = page.last else { break }
                try await publisher.publish(page)
                after = last.delivery.recipientNumber
            }
            if after > 0 { try await store.markRepublished(blast, by: ownership) }
        }
        try await store.markRepublished(nil, by: ownership)
    }
}
