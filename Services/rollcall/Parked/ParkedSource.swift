import Contracts
import Kafka
import Postgres

/// Everything parked: the projector's rows, and the dead-letter topic for every other service. A record that several
/// services could not read is one entry.
struct ParkedSource {
    let connection: PostgresConnection
    /// Nil leaves the topic out.
    let kafka: KafkaConfiguration?

    /// The newest entries that pass, oldest first.
    /// - Parameter ids: nil for any.
    func list(_ filter: ParkedFilter, ids: Set<String>? = nil) async throws -> [ParkedRecord] {
        let replays = try await replays()
        var found: [String: ParkedRecord] = [:]
        func add(_ record: ParkedRecord) {
            guard ids?.contains(record.id) ?? true, filter.passes(record, isReplayed: replays[record.id] != nil)
            else { return }
            if found[record.id] != nil {
                found[record.id]?.services.formUnion(record.services)
            } else {
                found[record.id] = record
                found[record.id]?.replay = replays[record.id]
            }
        }
        for record in try await rows(filter) { add(record) }
        if let kafka, filter.kind != .late {
            try await TopicScan(kafka: kafka).each(.deadLetters) { record in
                ParkedRecord(deadLetter: record).map(add)
            }
        }
        return found.values.sorted { Self.order($0) < Self.order($1) }.suffix(filter.limit)
    }

    /// The entries with these ids, in the order given.
    /// - Throws: `Failure` that names the first id that nobody parked.
    func find(_ ids: [String]) async throws -> [ParkedRecord] {
        let all = try await list(ParkedFilter.everything, ids: Set(ids))
        let byID = Dictionary(uniqueKeysWithValues: all.map { ($0.id, $0) })
        return try ids.map { id in
            guard let record = byID[id] else {
                throw Failure("nothing is parked under \(Terminal.escaped(id)); see 'rollcall parked list --replayed'")
            }
            return record
        }
    }

    private static func order(_ record: ParkedRecord) -> (Int64, Int64, String) {
        (record.parkedAtMicroseconds, record.place?.offset ?? 0, record.id)
    }

    private func replays() async throws -> [String: ParkedRecord.Replay] {
        var replays: [String: ParkedRecord.Replay] = [:]
        for row in try await connection.query("SELECT id, actor, replayed_at FROM parked_replay") {
            replays[try row.string("id")] = ParkedRecord.Replay(
                actor: try row.string("actor"), atMicroseconds: try row.timestampMicroseconds("replayed_at"))
        }
        return replays
    }

    private func rows(_ filter: ParkedFilter) async throws -> [ParkedRecord] {
        try await connection.query(
            """
            SELECT true AS is_late, cluster_id, topic, part, record_offset,
                   'the delivery ' || subject || ' had no row' AS reason,
                   convert_to(subject, 'UTF8') AS key, value, headers::text AS headers, seen_at AS parked_at
              FROM late_event WHERE $1::timestamptz IS NULL OR seen_at >= $1
            UNION ALL
            SELECT false, cluster_id, topic, part, record_offset, reason, key, value, headers::text, parked_at
              FROM dead_letter WHERE $1::timestamptz IS NULL OR parked_at >= $1
            """, [.timestampMicroseconds(filter.sinceMicroseconds)]
        ).map { row in
            ParkedRecord(
                try row.bool("is_late") ? .late : .unreadable,
                place: ParkedRecord.Place(
                    cluster: try row.string("cluster_id"),
                    partition: TopicPartition(topic: try row.string("topic"), partition: try row.int32("part")),
                    offset: try row.int("record_offset")),
                reason: try row.string("reason"), key: try row.optionalBytes("key"),
                value: try row.optionalBytes("value"),
                headers: try ParkedHeaders.read(try row.string("headers")).map {
                    KafkaHeader(name: $0.name, value: $0.value)
                },
                parkedAtMicroseconds: try row.timestampMicroseconds("parked_at"))
        }
    }
}
