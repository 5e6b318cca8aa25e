import Contracts
import Delivery
import Kafka
import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Publishes how far each blast is, once a second while it changes, that a report has expired, and parked records.
///
/// One publisher per blast: the owner of the partition that the blast's key falls into. Blasts that ended more than a day
/// ago are many and rarely change: a sweep looks at them.
struct ProgressPublisher: Service {
    let context: ProgramContext
    let configuration: ProjectorConfiguration
    let database: PostgresPool
    let producer: KafkaProducer
    let owned: OwnedPartitions

    func run() async throws {
        var published: [BlastID: Int] = [:]
        var restarts: Int64 = 0
        var nextSweep = ContinuousClock.now
        var repairs = ZombieRepairs(horizon: configuration.zombieHorizon)
        let outage = OutageLog("publishing progress", logger: context.logger)
        try await everyInterval(.seconds(1)) {
            let parts = owned.current
            guard !parts.isEmpty else {
                published = [:]
                nextSweep = .now
                return
            }
            do {
                let began = ContinuousClock.now
                repairs.taken(at: owned.since)
                let isRepair = repairs.areDue(at: began)
                let known = try await historyRestarts()
                if known != restarts || isRepair {
                    published = [:]
                    nextSweep = .now
                }
                restarts = known
                let isSweep = nextSweep <= .now
                try await publishProgress(parts, isSweep: isSweep, &published)
                try await publishDeadLetters(parts)
                if isSweep {
                    try await ExpiryPublisher(
                        projection: configuration.projection, database: database, producer: producer
                    ).publish(parts, restarts: restarts, again: isRepair ? configuration.zombieHorizon * 2 : nil)
                    nextSweep = .now + configuration.progressSweep
                }
                repairs.done(at: began)
                outage.worked()
            } catch {
                outage.failed(error)
            }
        }
    }

    /// A restarted history may have emptied this topic as well: everything is said again.
    private func historyRestarts() async throws -> Int64 {
        try await database.query(
            "SELECT coalesce(sum(incarnation - 1), 0) AS n FROM projector_partition WHERE projection = $1",
            [.text(configuration.projection)]
        ).first?.int("n") ?? 0
    }

    /// - Parameter published: a digest of the counts last published, by blast.
    private func publishProgress(_ parts: Set<Int32>, isSweep: Bool, _ published: inout [BlastID: Int]) async throws {
        var seen: Set<BlastID> = []
        var after: BlastID?
        repeat {
            let page = try await progress(after: after, isSweep: isSweep)
            let due = page.filter { record in
                seen.insert(record.blast)
                guard !record.counts.isEmpty, published[record.blast] != record.counts.hashValue else { return false }
                let part = Murmur2.partition(of: record.key, count: Topic.blastProgress.partitions)
                return parts.contains(Int32(part))
            }
            try await producer.send(try due.map { try ProducerRecord($0) })
            for record in due { published[record.blast] = record.counts.hashValue }
            after = page.count < Self.pageBlasts ? nil : page.last?.blast
        } while after != nil
        if isSweep { published = published.filter { seen.contains($0.key) } }
    }

    /// Blasts whose counts are in memory at once: the kept ones of 60 days may be very many.
    private static let pageBlasts = 500

    /// The counts of the next blasts, in the order of their ids.
    private func progress(after: BlastID?, isSweep: Bool) async throws -> [BlastProgressRecord] {
        let rows = try await database.query(
            """
            SELECT b.blast_id, b.district_id, b.audience, c.facts, coalesce(sum(c.n), 0) AS n, statement_timestamp()
              FROM (SELECT blast_id, district_id, audience FROM blast
                     WHERE state <> 'draft' AND (expires_at IS NULL OR expires_at > clock_timestamp())
                       AND ($1 OR sending_ended_at IS NULL OR sending_ended_at > clock_timestamp() - interval '1 day')
                       AND ($2 IS NULL OR blast_id > $2) ORDER BY blast_id LIMIT $3) b
              LEFT JOIN blast_count c ON c.blast_id = b.blast_id
             GROUP BY b.blast_id, b.district_id, b.audience, c.facts ORDER BY b.blast_id
            """, [.bool(isSweep), .uuid(after), .int(Int64(Self.pageBlasts))])
        var page: [(blast: BlastID, district: DistrictID, audience: Int64, counts: [DeliveryFacts: Int64])] = []
        for row in rows {
            let blast = try row[0].blastID()
            if page.last?.blast != blast {
                page.append((blast, DistrictID(try row[1].int()), try row[2].int(), [:]))
            }
            let n = try row[4].int()
            if n != 0 { page[page.count - 1].counts[DeliveryFacts(bits: try row[3].int())] = n }
        }
        guard let now = try rows.first?[5].timestampMicroseconds() else { return [] }
        return page.map { blast in
            BlastProgressRecord(
                blast: blast.blast, district: blast.district, audience: blast.audience, counts: blast.counts,
                atMicroseconds: now)
        }
    }

    /// Parked records also appear on the dead letter topic, each with an id that names where it came from.
    /// No row is held while the broker has them; the owner of the partition they come from is the one to publish.
    private func publishDeadLetters(_ parts: Set<Int32>) async throws {
        let rows = try await database.query(
            """
            SELECT cluster_id, topic, part, record_offset, reason, key, value, parked_at FROM dead_letter
             WHERE projection = $1 AND reported_at IS NULL
               AND part = ANY ($2::int[]) ORDER BY parked_at LIMIT 500
            """, [.text(configuration.projection), .int4Array(Array(parts))])
        guard !rows.isEmpty else { return }
        try await producer.send(
            try rows.map { row in
                ProducerRecord(
                    DeadLetter(
                        topic: try row.string("topic"), partition: try row.int32("part"),
                        offset: try row.int("record_offset"), clusterID: try row.string("cluster_id"),
                        value: try row.optionalBytes("value"), reason: try row.string("reason"),
                        source: "/rollcall/status-projector",
                        atMicroseconds: try row.timestampMicroseconds("parked_at")))
            })
        _ = try await database.query(
            """
            UPDATE dead_letter SET reported_at = clock_timestamp()
             WHERE projection = $1 AND reported_at IS NULL AND (cluster_id, topic, part, record_offset) IN
                   (SELECT * FROM unnest($2::text[], $3::text[], $4::int[], $5::bigint[]))
            """,
            [
                .text(configuration.projection), .textArray(try rows.map { try $0.string("cluster_id") }),
                .textArray(try rows.map { try $0.string("topic") }),
                .int4Array(try rows.map { try $0.int32("part") }),
                .int8Array(try rows.map { try $0.int("record_offset") }),
            ])
    }
}

/// When everything has to be said again because an earlier owner may have spoken last.
///
/// A stopped or slow owner has counts read and queued that reach the topic behind the new owner's. Readers go by `as_of`,
/// but compaction keeps what stands last. After every taking of partitions everything is said once more when nobody can
/// wake up any more.
struct ZombieRepairs: Sendable {
    let horizon: Duration
    private var known: ContinuousClock.Instant?
    private var due: [ContinuousClock.Instant] = []

    init(horizon: Duration) { self.horizon = horizon }

    mutating func taken(at instant: ContinuousClock.Instant) {
        guard instant != known else { return }
        known = instant
        due.append(instant + horizon)
    }

    func areDue(at now: ContinuousClock.Instant) -> Bool { due.contains { $0 <= now } }

    mutating func done(at now: ContinuousClock.Instant) { due.removeAll { $0 <= now } }
}
