import Contracts
import Delivery
import Kafka
import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Learns from every delivery event which addresses must not be written to again.
struct LearningService: Service {
    let loop: ConsumerLoop
    let ledger: BlacklistLedger
    let kept: KeptLessons
    let progress: GuardProgress
    let probeInterval: Duration
    let wake: Wake
    let metrics: GuardMetrics

    func run() async throws {
        var sink = LearningSink(service: self)
        try await loop.run(&sink)
    }
}

private struct LearningSink: RecordSink {
    private let service: LearningService
    private var cluster = ""
    private var partitions: [TopicPartition] = []
    private var freshness: Freshness

    var watchesEnds: Bool { true }

    init(service: LearningService) {
        self.service = service
        freshness = Freshness(interval: service.probeInterval)
    }

    mutating func open(cluster: String) async throws {
        self.cluster = cluster
        try await learnLostHistory()
    }

    /// What a broker lost before it was read here is learned from the database, before anything is proven about another
    /// history. The rows change only afterwards: a guard that is killed meanwhile leaves it to the next.
    ///
    /// The projector may fold what it read from the old broker until it notices the new one, so a restart that it
    /// reports later has it done again.
    private func learnLostHistory() async throws {
        guard let restarts = try await service.progress.unlearnedRestarts(cluster: cluster) else { return }
        try await learnKept()
        try await service.progress.open(cluster: cluster, restartsLearned: restarts)
    }

    private func learnKept() async throws {
        var lessons = 0
        var place: KeptLessons.Place? = .start
        while let current = place {
            guard !Task.isShuttingDownGracefully else { throw LoopError("asked to stop while learning") }
            let page = try await service.kept.page(after: current)
            try await learn(page.lessons)
            lessons += page.lessons.count
            place = page.next
            service.loop.stuck.turn()
        }
        if lessons > 0 {
            service.loop.logger.warning(
                "events may have been lost before they were read; learned from what the database keeps",
                metadata: ["lessons": "\(lessons)", "cluster": "\(cluster)"])
        }
    }

    mutating func lostRecords(of partition: TopicPartition) async throws {
        freshness.forget()
        try await learnKept()
    }

    mutating func starts(of partitions: [TopicPartition]) async throws -> [TopicPartition: StartOffset] {
        let next = try await service.progress.positions(cluster: cluster)
        self.partitions = partitions
        return Dictionary(
            uniqueKeysWithValues: partitions.map { partition in
                let offset = next[partition.partition] ?? 0
                return (partition, offset > 0 ? .offset(offset) : .beginning)
            })
    }

    mutating func release() {
        partitions = []
        freshness.forget()
    }

    mutating func apply(_ records: [ConsumerRecord]) async throws {
        var lessons: [Lesson] = []
        var next: [Int32: Int64] = [:]
        for record in records {
            next[record.topicPartition.partition] = record.offset + 1
            do throws(ContractError) {
                let event = try DeliveryEvent(value: record.value ?? [], header: record.header)
                if let lesson = Lesson(event) {
                    lessons.append(lesson)
                    service.metrics.learned(lesson.fact)
                }
            } catch {
                // The projector parks it.
                service.metrics.refused(service.loop.name)
            }
        }
        let position = GuardProgress.Position(cluster: cluster, next: next)
        if lessons.isEmpty { return try await service.progress.store(position) }
        try await learn(lessons, progress: position)
    }

    private func learn(_ lessons: [Lesson], progress position: GuardProgress.Position? = nil) async throws {
        do {
            count(try await service.ledger.learn(lessons, progress: position))
        } catch let error as PostgresError where error.refusesValues {
            for lesson in lessons { try await learnAlone(lesson) }
            if let position { try await service.progress.store(position) }
        }
    }

    /// One event that the database refuses must not keep the others from being learned.
    private func learnAlone(_ lesson: Lesson) async throws {
        do {
            count(try await service.ledger.learn([lesson]))
        } catch let error as PostgresError where error.refusesValues {
            service.metrics.refused(service.loop.name)
            service.loop.logger.error(
                "cannot learn from an event", error: error,
                metadata: ["delivery": "\(lesson.delivery)", "fact": "\(lesson.fact.name)"])
        }
    }

    private func count(_ changed: Int) {
        guard changed > 0 else { return }
        service.metrics.changes.increment(by: changed)
        service.wake.signal()
    }

    mutating func beginProof(afterRecords: Bool) async throws -> Bool {
        let now = ContinuousClock.now
        guard freshness.isDue(now: now), !partitions.isEmpty else { return false }
        try await learnLostHistory()
        freshness.begin(
            partitions, at: try await service.progress.databaseTime(), now: now, afterRecords: afterRecords)
        return true
    }

    mutating func reachedEnd(of partition: TopicPartition, nextOffset: Int64) async throws {
        guard let since = freshness.ended(partition) else { return }
        try await prove(partition, nextOffset, since)
    }

    mutating func advanced(_ next: [TopicPartition: Int64], consumer: KafkaConsumer) async throws {
        for (partition, offset) in next {
            if freshness.wantsTarget(partition),
                let marks = try? await consumer.watermarks(partition, timeout: .seconds(1))
            {
                freshness.setTarget(partition, marks.high)
            }
            guard let since = freshness.advanced(partition, to: offset) else { continue }
            try await prove(partition, offset, since)
        }
    }

    private func prove(_ partition: TopicPartition, _ nextOffset: Int64, _ since: Int64) async throws {
        try await service.progress.proveCaughtUp(
            cluster: cluster, part: partition.partition, nextOffset: nextOffset, atMicroseconds: since)
    }
}
