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
        let outage = OutageLog("publishing progress", logger: context.logger)
        try await everyInterval(.seconds(1)) {
            let parts = owned.current
            guard !parts.isEmpty else {
                published = [:]
                nextSweep = .now
                return
            }
            do {
                let known = try await historyRestarts()
                if known != restarts {
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
                    ).publish(parts, restarts: restarts)
                    nextSweep = .now + configuration.progressSweep
                }
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
        let rows = try await database.query(
            """
            SELECT b.blast_id, b.district_id, b.audience, c.facts, sum(c.n) AS n, statement_timestamp()
              FROM blast b JOIN blast_count c ON c.blast_id = b.blast_id
             WHERE b.state <> 'draft' AND (b.expires_at IS NULL OR b.expires_at > clock_timestamp())
               AND ($1 OR b.sending_ended_at IS NULL OR b.sending_ended_at > clock_timestamp() - interval '1 day')
             GROUP BY b.blast_id, b.district_id, b.audience, c.facts HAVING sum(c.n) <> 0
            """, [.bool(isSweep)])
        var progress: [BlastID: (district: DistrictID, audience: Int64, counts: [DeliveryFacts: Int64])] = [:]
        for row in rows {
            let blast = try row[0].blastID()
            var state = try progress[blast] ?? (DistrictID(try row[1].int()), try row[2].int(), [:])
            state.counts[DeliveryFacts(bits: try row[3].int())] = try row[4].int()
            progress[blast] = state
        }
        guard let now = try rows.first?[5].timestampMicroseconds() else { return }
        let due = progress.compactMap { blast, state -> BlastProgressRecord? in
            guard published[blast] != state.counts.hashValue else { return nil }
            let record = BlastProgressRecord(
                blast: blast, district: state.district, audience: state.audience, counts: state.counts,
                atMicroseconds: now)
            let part = Murmur2.partition(of: record.key, count: Topic.blastProgress.partitions)
            return parts.contains(Int32(part)) ? record : nil
        }
        try await producer.send(try due.map { try ProducerRecord($0) })
        for record in due { published[record.blast] = record.counts.hashValue }
        if isSweep { published = published.filter { progress[$0.key] != nil } }
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
