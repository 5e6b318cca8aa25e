import Contracts
import Delivery
import Kafka
import Postgres

extension ProjectionStore {
    /// A record put aside, with everything needed to put it back.
    private struct Parked {
        let offset: Int64
        let reason: String
        let key: [UInt8]?
        let value: [UInt8]?
        let headers: String

        init(_ unreadable: ReadBatch.Unreadable) throws {
            offset = unreadable.offset
            reason = unreadable.reason
            key = unreadable.record.key
            value = unreadable.record.value
            headers = try ParkedHeaders.json(unreadable.record.headers.map { ($0.name, $0.value) })
        }

        init(_ read: ReadEvent, reason: String) throws {
            offset = read.offset
            self.reason = reason
            key = read.event.key
            value = read.value
            headers = try ParkedHeaders.json(read.event.attributes.headers.map { ($0.name, Array($0.value.utf8)) })
        }
    }

    /// Parks what cannot be folded, once, in the transaction that passes it.
    func park(_ batch: ReadBatch, _ fold: Fold, _ ownership: Ownership, on connection: PostgresConnection) async throws
    {
        let common: [PostgresParameter] = [
            .text(projection), .text(ownership.history), .text(topic), .int(Int64(ownership.part)),
        ]
        if !fold.late.isEmpty {
            _ = try await connection.query(
                """
                INSERT INTO late_event (projection, cluster_id, topic, part, record_offset, event_id, subject, fact,
                                        value, headers)
                SELECT $1, $2, $3, $4, e.record_offset, e.event_id, e.subject, e.fact, e.value, e.headers::jsonb
                  FROM unnest($5::bigint[], $6::text[], $7::text[], $8::int[], $9::bytea[], $10::text[])
                       AS e(record_offset, event_id, subject, fact, value, headers)
                ON CONFLICT DO NOTHING
                """,
                common + [
                    .int8Array(fold.late.map(\.offset)), .textArray(fold.late.map(\.event.id)),
                    .textArray(fold.late.map(\.event.delivery.description)),
                    .int4Array(fold.late.map { Int32($0.event.fact.rawValue) }),
                    .byteaArray(fold.late.map { Optional($0.value) }),
                    .textArray(try fold.late.map { try Parked($0, reason: "").headers }),
                ])
        }
        let parked =
            try batch.unreadable.map { try Parked($0) }
            + fold.foreign.map { try Parked($0, reason: "the delivery belongs to another district") }
        guard !parked.isEmpty else { return }
        _ = try await connection.query(
            """
            INSERT INTO dead_letter (projection, cluster_id, topic, part, record_offset, reason, key, value, headers)
            SELECT $1, $2, $3, $4, e.record_offset, e.reason, e.key, e.value, e.headers::jsonb
              FROM unnest($5::bigint[], $6::text[], $7::bytea[], $8::bytea[], $9::text[])
                   AS e(record_offset, reason, key, value, headers)
            ON CONFLICT DO NOTHING
            """,
            common + [
                .int8Array(parked.map(\.offset)), .textArray(parked.map(\.reason)), .byteaArray(parked.map(\.key)),
                .byteaArray(parked.map(\.value)), .textArray(parked.map(\.headers)),
            ])
    }
}
