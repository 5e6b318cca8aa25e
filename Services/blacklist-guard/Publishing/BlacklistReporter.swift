import Contracts
import Delivery
import Kafka
import Logging
import Postgres
import Runtime
import ServiceLifecycle
import Signing

/// Publishes every changed blacklist entry. Rows are not locked meanwhile: one that changes again is marked as
/// published only at the version that was, and only while the event history is the one that was read before.
struct BlacklistReporter: Service {
    let pool: PostgresPool
    let producer: KafkaProducer
    let wake: Wake
    let interval: Duration
    let stuck: StuckLoop
    let logger: Logger

    private static let entriesMax = 500

    func run() async throws {
        try await wake.serve("report-blacklist", every: interval, stuck: stuck, logger: logger) {
            try await publish()
        }
    }

    /// True when there may be more.
    func publish() async throws -> Bool {
        let history = try await pool.query(EventHistory.read)[0].int("history")
        let rows = try await pool.query(Self.takeEntries, [.int(Int64(Self.entriesMax))])
        guard !rows.isEmpty else { return false }
        var districts: [Int64] = []
        var hashes: [[UInt8]?] = []
        var versions: [Int64] = []
        var records: [ProducerRecord] = []
        for row in rows {
            let district = try row.int("district_id")
            let hash = try row.bytes("address_hash")
            let version = try row.int("version")
            districts.append(district)
            hashes.append(hash)
            versions.append(version)
            let record = BlacklistRecord(
                district: DistrictID(district), addressHash: Hexadecimal.string(hash),
                reason: try row.string("reason"), isActive: try row.bool("active"), version: version,
                changedAtMicroseconds: try row.timestampMicroseconds("changed_at"))
            records.append(try ProducerRecord(record))
        }
        try await producer.send(records)
        _ = try await pool.query(
            Self.markReported,
            [.int8Array(districts), .byteaArray(hashes), .int8Array(versions), .int(history)])
        return rows.count == Self.entriesMax
    }

    private static let takeEntries = """
        SELECT district_id, address_hash, reason, active, version,
               greatest(last_seen, reset_at) AS changed_at
          FROM blacklist WHERE reported_at IS NULL LIMIT $1
        """

    private static let markReported = """
        UPDATE blacklist b SET reported_at = clock_timestamp(), reported_history = $4
          FROM unnest($1::bigint[], $2::bytea[], $3::bigint[]) AS k (district_id, address_hash, version)
         WHERE b.district_id = k.district_id AND b.address_hash = k.address_hash AND b.version = k.version
           AND (\(EventHistory.read)) = $4
        """
}
