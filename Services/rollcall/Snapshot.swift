import ArgumentParser
import Contracts
import Delivery
import Foundation
import Kafka
import Postgres

struct Snapshot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write the newest status of every delivery, and where on the status topic to read on.",
        discussion: """
            NDJSON on standard output. The first line names the cluster and, for each partition of \
            rollcall.delivery.status.v1, the offset to read on from; then comes one line per delivery with news, as on the \
            topic; the last line counts them, so that a snapshot that was cut short is noticed. Reads the database as its \
            owner, in one snapshot taken after the offsets: nothing is missed, and what comes twice is ignored by the \
            consumer rule (Shared/Contracts/Consuming.md). Expired blasts are left out.
            """)

    @Option(help: "Only this district.") var district: Int64?
    @Option(help: "Only this blast.") var blast: BlastID?
    @Option(help: "The projection whose statuses these are.") var projection = ProjectionName.live
    @Option(help: "Seconds to wait for a broker.") var wait = 30

    func run() async throws {
        let surroundings = Surroundings()
        let scan = TopicScan(kafka: try surroundings.kafka(), patience: .seconds(max(1, wait)))
        let end = try await scan.ends(of: .deliveryStatus)
        try await surroundings.withOwner { connection in
            try await connection.begin()
            do {
                try await connection.execute(script: Self.isolation)
                try await write(from: connection, end)
                try await connection.rollback()
            } catch {
                try? await connection.rollback()
                throw error
            }
        }
    }

    /// Each page is planned for its blast: a plan for any blast is slow on partitions without statistics.
    private static let isolation = """
        SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
        SET LOCAL plan_cache_mode = force_custom_plan
        """

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Header: Encodable {
        let type = "rollcall.delivery.snapshot.v1"
        let topic: String
        let cluster_id: String
        let offsets: [String: Int64]
        let taken_at: String
        let district: Int64?
        let blast_id: String?
    }

    private struct Trailer: Encodable {
        let type = "rollcall.delivery.snapshot.end.v1"
        let records: Int
    }

    private func write(from connection: PostgresConnection, _ end: TopicScan.Ends) async throws {
        let blasts = try await connection.query(
            """
            SELECT blast_id FROM blast
             WHERE state <> 'draft' AND (expires_at IS NULL OR expires_at > statement_timestamp())
               AND ($1::bigint IS NULL OR district_id = $1) AND ($2::text IS NULL OR blast_id = $2::text::uuid)
             ORDER BY blast_id
            """, [.int(district), .text(blast?.description)])
        if let blast, blasts.isEmpty { throw Failure("there is no blast \(blast) whose report is kept") }
        let takenAt = try await connection.query("SELECT transaction_timestamp() AS at")[0].timestampMicroseconds("at")
        try Self.put([
            StrictJSON.encode(
                Header(
                    topic: Topic.deliveryStatus.name, cluster_id: end.clusterID,
                    offsets: Dictionary(uniqueKeysWithValues: end.offsets.map { (String($0.key), $0.value) }),
                    taken_at: Timestamp.string(microseconds: takenAt), district: district,
                    blast_id: blast?.description))
        ])
        var count = 0
        for row in blasts {
            let id = try row.uuid("blast_id")
            count += try await write(BlastID(high: id.high, low: id.low), from: connection)
        }
        try Self.put([StrictJSON.encode(Trailer(records: count))])
    }

    private func write(_ blast: BlastID, from connection: PostgresConnection) async throws -> Int {
        var after: Int32 = 0
        var count = 0
        while true {
            let rows = try await connection.query(
                Self.page,
                [
                    .uuid(high: blast.high, low: blast.low), .int4(after), .text(projection.text),
                    .text(Topic.deliveryEvents.name),
                ])
            guard !rows.isEmpty else { return count }
            if try rows.contains(where: { try $0[3].isNull() }) {
                throw Failure("\(projection.text) is not the projection of these statuses: name it with --projection")
            }
            let records = try rows.map { try Self.record(of: blast, $0) }
            try Self.put(try records.map { try $0.value() })
            after = records[records.count - 1].delivery.recipientNumber
            count += records.count
        }
    }

    private static let page = """
        SELECT s.recipient_no, l.district_id, l.facts, p.incarnation, l.seq, l.attempts, l.last_attempt_at, l.response,
               l.changed_at, l.event_id, s.person_ref
          FROM (SELECT * FROM delivery_status
                 WHERE blast_id = $1 AND recipient_no > $2 AND last_seq IS NOT NULL
                 ORDER BY recipient_no LIMIT 5000) s
          JOIN delivery_log l ON l.blast_id = s.blast_id AND l.part = s.part AND l.seq = s.last_seq
          LEFT JOIN projector_partition p ON p.projection = $3 AND p.topic = $4 AND p.part = s.part
         ORDER BY s.recipient_no
        """

    private static func record(of blast: BlastID, _ row: PostgresRow) throws -> DeliveryStatusRecord {
        DeliveryStatusRecord(
            delivery: DeliveryID(blast: blast, recipientNumber: try row[0].int32()),
            district: DistrictID(try row[1].int()), facts: DeliveryFacts(bits: try row[2].int()), versionFrom: 0,
            incarnation: try row[3].int32(), seq: try row[4].int(), attempts: try row[5].int32(),
            lastAttemptAtMicroseconds: try row[6].optionalTimestampMicroseconds(),
            response: try row[7].optionalString(), changedAtMicroseconds: try row[8].timestampMicroseconds(),
            eventID: try row[9].string(), personReference: try row[10].optionalString())
    }

    /// A line that cannot be written ends the command: a shorter file must not look like a success.
    private static func put(_ lines: [[UInt8]]) throws {
        var text: [UInt8] = []
        for line in lines {
            text += line
            text.append(UInt8(ascii: "\n"))
        }
        do {
            try FileHandle.standardOutput.write(contentsOf: Data(text))
        } catch {
            throw Failure("standard output does not take the snapshot: \(error.localizedDescription)")
        }
    }
}
