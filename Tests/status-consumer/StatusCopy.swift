import ArgumentParser
import Contracts
import Delivery
import Foundation
import Kafka
import Postgres

struct CopyError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// The database that holds the copy.
struct CopyPlace: ParsableArguments {
    @Option(help: "The server.") var host = "127.0.0.1"
    @Option(help: "Its port.") var port = 5432
    @Option(help: "The database.") var database: String
    @Option(help: "Who logs in; the password is in PGPASSWORD.") var user: String

    func open() async throws -> StatusCopy {
        let copy = StatusCopy(
            PostgresConfiguration(
                host: host, port: port, database: database, user: user,
                password: ProcessInfo.processInfo.environment["PGPASSWORD"] ?? "", applicationName: "status-consumer",
                searchPath: "public"))
        try await copy.makeTables()
        return copy
    }
}

/// A record as it was published, with the members that this program does not know.
struct KeptRecord {
    let state: DeliveryStatusRecord
    let version: Int32
    let text: String

    private struct Own: Decodable {
        let version: Int32
    }

    init(value: [UInt8]) throws {
        state = try DeliveryStatusRecord(value: value)
        version = try JSONDecoder().decode(Own.self, from: Data(value)).version
        text = String(decoding: value, as: UTF8.self)
    }

    static func isOlder(_ a: KeptRecord, _ b: KeptRecord) -> Bool {
        (a.state.incarnation, a.version, a.state.seq) < (b.state.incarnation, b.version, b.state.seq)
    }
}

/// The copy, and how far it is.
///
/// The positions stand beside the data and are written with it: what is before a position has been stored, whatever died.
/// They belong to one cluster.
struct StatusCopy: Sendable {
    private let database: PostgresPool

    init(_ configuration: PostgresConfiguration) { database = PostgresPool(configuration, size: 1) }

    func close() async { await database.close() }

    func makeTables() async throws {
        try await database.withConnection { connection in
            try await connection.execute(
                script: """
                    SELECT pg_advisory_lock(hashtext('status-consumer'));
                    CREATE TABLE IF NOT EXISTS delivery (
                        blast_id uuid, recipient_no int, incarnation int, version int, seq bigint, facts bigint,
                        record text, PRIMARY KEY (blast_id, recipient_no));
                    CREATE TABLE IF NOT EXISTS expired (blast_id uuid PRIMARY KEY);
                    CREATE TABLE IF NOT EXISTS position (
                        cluster text, topic text, part int, next_offset bigint, PRIMARY KEY (cluster, topic, part));
                    SELECT pg_advisory_unlock(hashtext('status-consumer'));
                    """)
        }
    }

    // MARK: Following

    func positions(in cluster: String) async throws -> [TopicPartition: Int64] {
        var positions: [TopicPartition: Int64] = [:]
        for row in try await database.query(
            "SELECT topic, part, next_offset FROM position WHERE cluster = $1", [.text(cluster)])
        {
            positions[TopicPartition(topic: try row[0].string(), partition: try row[1].int32())] = try row[2].int()
        }
        return positions
    }

    /// One transaction: the records and how far they go.
    func store(_ records: [ConsumerRecord], of cluster: String) async throws {
        var states: [KeptRecord] = []
        var expired: [BlastID] = []
        var ends: [TopicPartition: Int64] = [:]
        for record in records {
            ends[record.topicPartition] = record.offset + 1
            guard let value = record.value else { continue }
            switch record.header("ce_type") {
            case DeliveryStatusRecord.type: states.append(try KeptRecord(value: value))
            case BlastExpiredRecord.type: expired.append(try BlastExpiredRecord(value: value).blast)
            default: break  // Somebody else's, or of a later version.
            }
        }
        try await database.withTransaction { connection in
            try await Self.hold(states, expired, on: connection)
            if !expired.isEmpty { try await Self.forget(expired, on: connection) }
            try await Self.store(states, on: connection)
            try await Self.move(to: ends, of: cluster, on: connection)
        }
    }

    /// One member forgets a blast while another stores its deliveries: whoever is second sees what the first has done.
    private static func hold(
        _ records: [KeptRecord], _ expired: [BlastID], on connection: PostgresConnection
    ) async throws {
        let kept = Set(records.map(\.state.delivery.blast)).subtracting(expired)
        let forgotten = Set(expired)
        let blasts = kept.map { ($0.description, false) } + forgotten.map { ($0.description, true) }
        guard !blasts.isEmpty else { return }
        _ = try await connection.query(
            """
            SELECT CASE WHEN b.id = ANY ($2::text[]) THEN pg_advisory_xact_lock(b.key)
                        ELSE pg_advisory_xact_lock_shared(b.key) END
              FROM (SELECT id, hashtextextended(id, 0) AS key FROM unnest($1::text[]) AS id ORDER BY key, id) b
            """, [.textArray(blasts.map(\.0)), .textArray(forgotten.map(\.description))])
    }

    /// A record replaces what is known only if it is newer: records may come twice and, after a fault, late.
    private static func store(_ records: [KeptRecord], on connection: PostgresConnection) async throws {
        // One statement takes one row per delivery; the order keeps two processes from waiting for each other.
        let newest = Dictionary(grouping: records, by: \.state.delivery)
            .compactMap { $0.value.max(by: KeptRecord.isOlder) }.sorted { $0.state.delivery < $1.state.delivery }
        guard !newest.isEmpty else { return }
        _ = try await connection.query(
            """
            INSERT INTO delivery (blast_id, recipient_no, incarnation, version, seq, facts, record)
            SELECT n.* FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::bigint[], $6::bigint[], $7::text[])
                            AS n(blast_id, recipient_no, incarnation, version, seq, facts, record)
             WHERE NOT EXISTS (SELECT FROM expired e WHERE e.blast_id = n.blast_id)
            ON CONFLICT (blast_id, recipient_no) DO UPDATE SET
                incarnation = excluded.incarnation, version = excluded.version, seq = excluded.seq,
                facts = excluded.facts, record = excluded.record
             WHERE (excluded.incarnation, excluded.version, excluded.seq)
                   > (delivery.incarnation, delivery.version, delivery.seq)
            """,
            [
                .uuidArray(newest.map { ($0.state.delivery.blast.high, $0.state.delivery.blast.low) }),
                .int4Array(newest.map(\.state.delivery.recipientNumber)),
                .int4Array(newest.map(\.state.incarnation)), .int4Array(newest.map(\.version)),
                .int8Array(newest.map(\.state.seq)), .int8Array(newest.map(\.state.facts.bits)),
                .textArray(newest.map(\.text)),
            ])
    }

    private static func forget(_ blasts: [BlastID], on connection: PostgresConnection) async throws {
        let ids: [PostgresParameter] = [.uuidArray(blasts.map { ($0.high, $0.low) })]
        _ = try await connection.query(
            "INSERT INTO expired SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING", ids)
        _ = try await connection.query("DELETE FROM delivery WHERE blast_id = ANY ($1::uuid[])", ids)
    }

    private static func move(
        to ends: [TopicPartition: Int64], of cluster: String, on connection: PostgresConnection
    ) async throws {
        for (partition, nextOffset) in ends.sorted(by: { $0.key < $1.key }) {
            _ = try await connection.query(
                """
                INSERT INTO position VALUES ($1, $2, $3, $4)
                ON CONFLICT (cluster, topic, part) DO UPDATE SET next_offset = excluded.next_offset
                """, [.text(cluster), .text(partition.topic), .int4(partition.partition), .int(nextOffset)])
        }
    }

    // MARK: Beginning and looking

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct SnapshotHeader: Decodable {
        let topic: String
        let cluster_id: String
        let offsets: [String: Int64]
    }

    private struct SnapshotEnd: Decodable {
        let type: String
        let records: Int
    }

    /// Takes in a whole snapshot or nothing, a thousand records at a time.
    func load(_ nextLine: () -> String?) async throws -> Int {
        try await database.withTransaction { connection in
            var header: SnapshotHeader?
            var page: [KeptRecord] = []
            var count = 0
            while let line = nextLine() {
                let octets = Data(line.utf8)
                guard header != nil else {
                    header = try JSONDecoder().decode(SnapshotHeader.self, from: octets)
                    continue
                }
                if let end = try? JSONDecoder().decode(SnapshotEnd.self, from: octets), end.records == count {
                    try await Self.hold(page, [], on: connection)
                    try await Self.store(page, on: connection)
                    try await Self.move(to: header, on: connection)
                    return count
                }
                page.append(try KeptRecord(value: Array(line.utf8)))
                count += 1
                if page.count == 1000 {
                    try await Self.hold(page, [], on: connection)
                    try await Self.store(page, on: connection)
                    page = []
                }
            }
            throw CopyError("the snapshot is cut short")
        }
    }

    private static func move(to header: SnapshotHeader?, on connection: PostgresConnection) async throws {
        guard let header else { return }
        var ends: [TopicPartition: Int64] = [:]
        for (part, offset) in header.offsets {
            guard let part = Int32(part) else { throw CopyError("\(part) is no partition") }
            ends[TopicPartition(topic: header.topic, partition: part)] = offset
        }
        try await move(to: ends, of: header.cluster_id, on: connection)
    }

    func forgetPositions() async throws { _ = try await database.query("DELETE FROM position") }

    func lines() async throws -> [String] {
        let rows = try await database.query(
            "SELECT blast_id, recipient_no, facts, version, seq FROM delivery ORDER BY blast_id, recipient_no")
        return try rows.map { row in
            let id = try row[0].uuid()
            let delivery = DeliveryID(
                blast: BlastID(high: id.high, low: id.low), recipientNumber: try row[1].int32())
            return "\(delivery) \(try row[2].int()) \(try row[3].int32()) \(try row[4].int())"
        }
    }
}
