import Contracts
import Delivery
import Kafka
import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Publishes what screening decided: one fact per excluded recipient, and the chunk as cleared.
///
/// It works from rows that are not marked as published, so it makes no difference whether they were committed a
/// moment ago, by a process that was killed, or are to be published again. Rows are not locked meanwhile, however long
/// the broker takes: what two guards publish at once is said twice. A row counts as published only while the event
/// history is the one that was read before.
struct ChunkReporter: Service {
    let blastClass: BlastClass
    let pool: PostgresPool
    let producer: KafkaProducer
    let wake: Wake
    let metrics: GuardMetrics
    let interval: Duration
    let stuck: StuckLoop
    let logger: Logger

    private static let chunksMax = 16

    func run() async throws {
        try await wake.serve("report-\(blastClass.rawValue)", every: interval, stuck: stuck, logger: logger) {
            try await publish()
        }
    }

    /// True when there may be more.
    func publish() async throws -> Bool {
        let history = try await pool.query(EventHistory.read)[0].int("history")
        let chunks = try await pool.query(
            Self.takeChunks, [.text(blastClass.rawValue), .int(Int64(Self.chunksMax))]
        ).map(ScreenedChunk.init)
        guard !chunks.isEmpty else { return false }
        let keys: [PostgresParameter] = [
            .uuidArray(chunks.map(\.blast)), .int4Array(chunks.map(\.number)),
        ]
        let ranges: [PostgresParameter] = [
            .int4Array(chunks.map(\.first)), .int4Array(chunks.map(\.last)),
        ]
        var records: [ProducerRecord] = []
        for row in try await pool.query(Self.readDecisions, keys + ranges) {
            records.append(try Self.record(of: row))
        }
        for chunk in chunks { records.append(try Self.record(of: chunk)) }
        try await producer.send(records)
        FaultPoint.reach("guard.after-publish")
        _ = try await pool.query(Self.markReported, keys + [.int(history)])
        return chunks.count == Self.chunksMax
    }

    private struct ScreenedChunk {
        let blast: BlastID
        let number: Int32
        let district: DistrictID
        let isEmergency: Bool
        let first: Int32
        let last: Int32
        let screenedAt: Int64

        init(_ row: PostgresRow) throws {
            blast = try row.blastID("blast_id")
            number = try row.int32("chunk_no")
            district = DistrictID(try row.int("district_id"))
            isEmergency = try row.string("class") == BlastClass.emergency.rawValue
            first = try row.int32("first_no")
            last = try row.int32("last_no")
            screenedAt = try row.timestampMicroseconds("screened_at")
        }
    }

    private static func record(of chunk: ScreenedChunk) throws -> ProducerRecord {
        try ProducerRecord(
            ChunkMessage(
                stage: .cleared, blast: chunk.blast, district: chunk.district, chunkNumber: chunk.number,
                firstRecipient: chunk.first, lastRecipient: chunk.last, isEmergency: chunk.isEmergency,
                atMicroseconds: chunk.screenedAt))
    }

    private static func record(of row: PostgresRow) throws -> ProducerRecord {
        let bit = try row.int("fact")
        guard let fact = UInt8(exactly: bit).flatMap(DeliveryFact.init(rawValue:)) else {
            throw LoopError("a decision states fact \(bit), which this version does not know")
        }
        let delivery = DeliveryID(
            blast: try row.blastID("blast_id"), recipientNumber: try row.int32("recipient_no"))
        return try ProducerRecord(
            DeliveryEvent(
                id: "guard/\(delivery)/\(fact.name)", source: "/rollcall/blacklist-guard", delivery: delivery,
                district: DistrictID(try row.int("district_id")), fact: fact,
                occurredAtMicroseconds: try row.timestampMicroseconds("decided_at"),
                evidence: try row.string("detail")))
    }

    private static let takeChunks = """
        SELECT s.blast_id, s.chunk_no, s.district_id, s.class, s.screened_at, c.first_no, c.last_no
          FROM screened_chunk s JOIN chunk c USING (blast_id, chunk_no)
         WHERE s.reported_at IS NULL AND s.class = $1
         ORDER BY s.blast_id, s.chunk_no LIMIT $2
        """

    private static let readDecisions = """
        SELECT d.* FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[]) AS k (blast_id, chunk_no, first_no, last_no)
         CROSS JOIN LATERAL (
               SELECT d.blast_id, d.recipient_no, d.district_id, d.fact, d.detail, d.decided_at FROM decision d
                WHERE d.blast_id = k.blast_id AND d.recipient_no BETWEEN k.first_no AND k.last_no
                  AND d.chunk_no = k.chunk_no
               OFFSET 0) d
        """

    private static let markReported = """
        UPDATE screened_chunk s SET reported_at = clock_timestamp(), reported_history = $3
          FROM unnest($1::uuid[], $2::int[]) AS k (blast_id, chunk_no)
         WHERE s.blast_id = k.blast_id AND s.chunk_no = k.chunk_no AND s.reported_at IS NULL
           AND (\(EventHistory.read)) = $3
        """
}
