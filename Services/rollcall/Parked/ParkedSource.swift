import Contracts
import Kafka
import Postgres

/// Everything parked: the projector's rows, and the dead-letter topic for every other service. A record that several
/// services could not read is one entry.
struct ParkedSource {
    let connection: PostgresConnection
    /// Nil leaves the topic out.
    let kafka: KafkaConfiguration?

    /// The newest entries that pass, oldest first, without their octets: there may be many.
    /// - Parameter limit: nil for all of them.
    func list(_ filter: ParkedFilter, limit: Int?) async throws -> [ParkedRecord] {
        let found = try await entries(filter, limit: limit, ids: nil)
        return Array(found.suffix(limit ?? found.count))
    }

    /// The entries with these ids, in the order given, with their octets.
    /// - Throws: `Failure` that names the first id that nobody parked.
    func find(_ ids: [String]) async throws -> [ParkedRecord] {
        let all = try await entries(ParkedFilter.everything, limit: nil, ids: ids)
        let byID = Dictionary(uniqueKeysWithValues: all.map { ($0.id, $0) })
        var found: [ParkedRecord] = []
        for id in ids {
            guard let record = byID[id] else {
                throw Failure("nothing is parked under \(Terminal.escaped(id)); see 'rollcall parked list --replayed'")
            }
            found.append(try await withContent(record))
        }
        return found
    }

    /// The entry with the key, value and headers that the projector kept; others' letters as they are.
    func withContent(_ record: ParkedRecord) async throws -> ParkedRecord {
        guard record.headers == nil, let place = record.place else { return record }
        let row = try await connection.query(
            """
            SELECT \(record.kind == .late ? "convert_to(subject, 'UTF8') AS key" : "key"), value, headers::text AS headers
              FROM \(record.kind == .late ? "late_event" : "dead_letter")
             WHERE projection = $1 AND cluster_id = $2 AND topic = $3 AND part = $4 AND record_offset = $5
            """,
            [
                .text(ProjectionName.live.text), .text(place.cluster), .text(place.partition.topic),
                .int4(place.partition.partition), .int(place.offset),
            ]
        ).first
        guard let row else { return record }
        var whole = ParkedRecord(
            record.kind, place: place, reason: record.reason, key: try row.optionalBytes("key"),
            value: try row.optionalBytes("value"),
            headers: try ParkedHeaders.read(try row.string("headers")).map {
                KafkaHeader(name: $0.name, value: $0.value)
            }, parkedAtMicroseconds: record.parkedAtMicroseconds)
        whole.services = record.services
        whole.replay = record.replay
        return whole
    }

    /// What passes, oldest first. Of the projector's rows at most `limit`.
    private func entries(_ filter: ParkedFilter, limit: Int?, ids: [String]?) async throws -> [ParkedRecord] {
        let replays = try await replays()
        let wanted = ids.map(Set.init)
        var found: [String: ParkedRecord] = [:]
        func add(_ record: ParkedRecord) {
            guard wanted?.contains(record.id) ?? true, filter.passes(record, isReplayed: replays[record.id] != nil)
            else { return }
            if found[record.id] != nil {
                found[record.id]?.services.formUnion(record.services)
            } else {
                found[record.id] = record
                found[record.id]?.replay = replays[record.id]
            }
        }
        for record in try await rows(filter, limit: limit, ids: ids) { add(record) }
        let isOnTopic = filter.kind != .late && ids?.allSatisfy { $0.hasPrefix("late/") } != true
        if let kafka, isOnTopic {
            try await TopicScan(kafka: kafka).each(.deadLetters) { record in
                ParkedRecord(deadLetter: record, withContent: ids != nil).map(add)
            }
        }
        return found.values.sorted { Self.order($0) < Self.order($1) }
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

    private func rows(_ filter: ParkedFilter, limit: Int?, ids: [String]?) async throws -> [ParkedRecord] {
        guard filter.service ?? "status-projector" == "status-projector" else { return [] }
        let place = "cluster_id || '/' || topic || '/' || part || '/' || record_offset"
        return try await connection.query(
            """
            SELECT * FROM (
                SELECT 'late' AS kind, 'late/' || \(place) AS id, cluster_id, topic, part, record_offset,
                       'the delivery ' || subject || ' had no row' AS reason, seen_at AS parked_at FROM late_event
                UNION ALL
                SELECT 'unreadable', 'dead/' || \(place), cluster_id, topic, part, record_offset, reason, parked_at
                  FROM dead_letter) p
             WHERE ($1::timestamptz IS NULL OR parked_at >= $1) AND ($2::text IS NULL OR kind = $2)
               AND ($3::text IS NULL OR strpos(lower(reason), lower($3)) > 0) AND ($4::text IS NULL OR topic = $4)
               AND ($5::int IS NULL OR part = $5) AND ($6 OR id = ANY ($7::text[]))
               AND ($8 OR NOT EXISTS (SELECT FROM parked_replay r WHERE r.id = p.id))
             ORDER BY parked_at DESC, record_offset DESC LIMIT $9
            """,
            [
                .timestampMicroseconds(filter.sinceMicroseconds), .text(filter.kind?.rawValue), .text(filter.reason),
                .text(filter.topic), .int4(filter.partition), .bool(ids == nil), .textArray(ids ?? []),
                .bool(filter.replayed), .int(limit.map(Int64.init)),
            ]
        ).map { row in
            ParkedRecord(
                try row.string("kind") == "late" ? .late : .unreadable,
                place: ParkedRecord.Place(
                    cluster: try row.string("cluster_id"),
                    partition: TopicPartition(topic: try row.string("topic"), partition: try row.int32("part")),
                    offset: try row.int("record_offset")),
                reason: try row.string("reason"), key: nil, value: nil, headers: nil,
                parkedAtMicroseconds: try row.timestampMicroseconds("parked_at"))
        }
    }
}
