import Delivery
import Postgres
import Runtime

/// A range of one blast's recipients, leased to this process.
struct LeasedChunk: Sendable, Equatable {
    let blast: BlastID
    let number: Int32
    let isEmergency: Bool
    /// Its recipients are only told that the blast was cancelled.
    let hasEnded: Bool
    let first: Int32
    let last: Int32
}

/// The cleared chunks as a work queue in PostgreSQL.
struct ChunkQueue: Sendable {
    /// Emergency first; then the district with the fewest chunks in work; then oldest first. A chunk whose lease has run
    /// out is free again. Held blasts wait, unless they have ended: then their recipients are told so.
    ///
    /// The blasts are put in order, and the first that has a free chunk is as far as it goes: what waits behind costs
    /// nothing. A lateral join goes through them one by one, and so keeps the order.
    static let take = """
        WITH busy AS MATERIALIZED (
            SELECT h.district_id, count(*) AS n
              FROM sender_lease l JOIN chunk h ON h.lease_token = l.token
             WHERE l.lease_until > clock_timestamp() AND h.state = 'cleared'
             GROUP BY h.district_id
        ), waiting AS MATERIALIZED (
            SELECT b.blast_id, \(BlastGate.hasEnded) AS ended
              FROM blast b
              LEFT JOIN busy ON busy.district_id = b.district_id
             WHERE b.state = 'sending' AND (\(BlastGate.hasEnded) OR NOT \(BlastGate.isHeld))
               AND (b.class = 'emergency' OR NOT $2) AND NOT b.channels <@ $3::text[]
             ORDER BY b.class = 'emergency' DESC, coalesce(busy.n, 0), b.blast_id
        ), free AS MATERIALIZED (
            SELECT f.blast_id, f.chunk_no, w.ended
              FROM waiting w
             CROSS JOIN LATERAL (
                   SELECT c.blast_id, c.chunk_no
                     FROM chunk c
                    WHERE c.blast_id = w.blast_id AND c.state = 'cleared'
                      AND (c.not_before IS NULL OR c.not_before <= clock_timestamp() OR w.ended)
                      AND (c.lease_token IS NULL
                           OR NOT EXISTS (SELECT FROM sender_lease l
                                           WHERE l.token = c.lease_token AND l.lease_until > clock_timestamp()))
                    ORDER BY c.chunk_no
                    LIMIT 1
                      FOR UPDATE SKIP LOCKED) f
             LIMIT 1
        )
        UPDATE chunk c SET lease_token = $1
          FROM free f
         WHERE c.blast_id = f.blast_id AND c.chunk_no = f.chunk_no
           AND EXISTS (SELECT FROM sender_lease l WHERE l.token = $1 AND l.lease_until > clock_timestamp())
        RETURNING c.blast_id, c.chunk_no, c.class = 'emergency' AS emergency, f.ended, c.first_no, c.last_no
        """
    private static let release = """
        UPDATE chunk SET lease_token = NULL
         WHERE blast_id = $1 AND chunk_no = $2 AND lease_token = $3 AND state = 'cleared'
        """
    private static let postpone = """
        UPDATE chunk SET lease_token = NULL, not_before = clock_timestamp() + $4 * interval '1 microsecond'
         WHERE blast_id = $1 AND chunk_no = $2 AND lease_token = $3 AND state = 'cleared'
        """
    /// Done means that every recipient of the range has a decision or an attempt. In an emergency those without a usable
    /// address have nothing to wait for: the guard may never have seen the chunk.
    private static let finish = DayStatement { day in
        """
        UPDATE chunk c SET state = 'done', done_at = clock_timestamp(), lease_token = NULL
         WHERE c.blast_id = $1 AND c.chunk_no = $2 AND c.state = 'cleared' AND c.lease_token = $3
           AND NOT EXISTS (
               SELECT FROM recipient\(day) r
                WHERE r.blast_id = $1 AND r.recipient_no BETWEEN c.first_no AND c.last_no
                  AND (r.address_hash IS NOT NULL OR c.class <> 'emergency')
                  AND NOT EXISTS (SELECT FROM decision\(day) d
                                   WHERE d.blast_id = $1 AND d.recipient_no = r.recipient_no)
                  AND NOT EXISTS (SELECT FROM attempt\(day) a
                                   WHERE a.blast_id = $1 AND a.recipient_no = r.recipient_no))
        RETURNING c.chunk_no
        """
    }
    /// In an emergency that the guard has not screened, an address may come twice; by the guard's own rule the first one
    /// that is not left out gets the message.
    private static let recipients = DayStatement { day in
        """
        SELECT r.recipient_no, r.address, r.address_hash, r.name, r.person_ref, r.person_kind, r.school, r.locale,
               r.fields::text AS fields,
               CASE WHEN $5 THEN
                   (SELECT e.recipient_no FROM recipient\(day) e JOIN blast b ON b.blast_id = $1
                     WHERE e.blast_id = $1 AND e.address_hash = r.address_hash AND e.recipient_no < r.recipient_no
                       AND (b.dedupe_key <> 'address+content' OR b.content_hash IS NOT NULL)
                       AND (b.dedupe_key <> 'address+person'
                            OR (e.person_kind, e.person_ref) IS NOT DISTINCT FROM (r.person_kind, r.person_ref))
                       AND NOT EXISTS (SELECT FROM decision\(day) d
                                        WHERE d.blast_id = $1 AND d.recipient_no = e.recipient_no)
                     ORDER BY e.recipient_no LIMIT 1) END AS original_no
          FROM recipient\(day) r
         WHERE r.blast_id = $1 AND r.recipient_no BETWEEN $2 AND $3 AND r.address_hash IS NOT NULL
           AND NOT EXISTS (SELECT FROM decision\(day) d WHERE d.blast_id = $1 AND d.recipient_no = r.recipient_no)
           AND NOT EXISTS (SELECT FROM attempt\(day) a WHERE a.blast_id = $1 AND a.recipient_no = r.recipient_no)
         ORDER BY r.recipient_no
         LIMIT $4
        """
    }

    let database: PostgresPool

    /// - Parameter channels: not a chunk whose recipients can only be reached over these.
    func take(
        _ token: LeaseToken, onlyEmergency: Bool, except channels: [Channel] = []
    ) async throws -> LeasedChunk? {
        let rows = try await database.query(
            Self.take, [token.parameter, .bool(onlyEmergency), .textArray(channels.map(\.rawValue))])
        guard let row = rows.first else { return nil }
        return LeasedChunk(
            blast: try row.blastID("blast_id"), number: try row.int32("chunk_no"),
            isEmergency: try row.bool("emergency"), hasEnded: try row.bool("ended"), first: try row.int32("first_no"),
            last: try row.int32("last_no"))
    }

    func release(_ chunk: LeasedChunk, _ token: LeaseToken) async throws {
        _ = try await database.query(
            Self.release, [.uuid(chunk.blast), .int4(chunk.number), token.parameter])
    }

    /// Gives the chunk back; nobody takes it before `pause` has passed.
    func postpone(_ chunk: LeasedChunk, _ token: LeaseToken, for pause: Duration) async throws {
        _ = try await database.query(
            Self.postpone,
            [.uuid(chunk.blast), .int4(chunk.number), token.parameter, .int(pause.wholeMicroseconds)])
    }

    /// - Returns: false when recipients without decision or attempt are left.
    func finish(_ chunk: LeasedChunk, _ token: LeaseToken) async throws -> Bool {
        let rows = try await database.query(
            Self.finish(chunk.blast), [.uuid(chunk.blast), .int4(chunk.number), token.parameter])
        return !rows.isEmpty
    }

    /// The next recipients of a chunk that nothing has been decided or tried for.
    func recipients(of chunk: LeasedChunk, from first: Int32, limit: Int) async throws -> [Recipient] {
        let rows = try await database.query(
            Self.recipients(chunk.blast),
            [.uuid(chunk.blast), .int4(first), .int4(chunk.last), .int(Int64(limit)), .bool(chunk.isEmergency)])
        return try rows.map { row in
            var recipient = try Recipient(row)
            recipient.original = try row.optionalInt32("original_no")
            return recipient
        }
    }
}

extension Recipient {
    init(_ row: PostgresRow) throws {
        self.init(
            number: try row.int32("recipient_no"), address: try row.string("address"),
            addressHash: try row.bytes("address_hash"), name: try row.optionalString("name"),
            personReference: try row.optionalString("person_ref"), school: try row.optionalString("school"),
            fields: try row.string("fields"), personKind: try row.optionalString("person_kind"),
            locale: try row.optionalString("locale"))
    }
}
