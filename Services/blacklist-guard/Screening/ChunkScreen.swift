import Delivery
import Postgres
import Runtime

/// A chunk by its key.
struct ChunkKey: Hashable, Sendable {
    let blast: BlastID
    let number: Int32
}

enum BlastClass: String, Sendable {
    case general, emergency
}

/// Decides for every recipient of a chunk whether it is left out, once and for good.
///
/// The first rule that applies decides: no address; an address that cannot be used; not meant for this category
/// (S-08); opted out (I-19); on the blacklist (I-12, I-28); an earlier recipient of the blast has the same address
/// (K-02); the same content was handed over to the address within the blast's window (I-14). An emergency reaches every usable address whatever its categories and opt-outs, but never one on the
/// blacklist.
///
/// An earlier recipient counts as the original only while it may still be sent to: one that was left out takes nobody
/// with it. Limits: equal content is found here only when the templates have no merge field; content that differs
/// between recipients is known only once it is rendered, and the sender's hand-over decides. There is no consent register, so nothing is decided as
/// `consent_denied`.
struct ChunkScreen: Sendable {
    enum Outcome: Sendable, Equatable {
        case screened(recipients: Int, excluded: [DeliveryFact: Int])
        /// It had been screened before; what was decided then will be published again.
        case repeated
        /// There is no such chunk, or its blast is a draft.
        case unknown
    }

    let pool: PostgresPool

    /// Commits before it returns. Safe side by side: whoever inserts the chunk's row first decides, the others wait
    /// for it.
    func screen(_ chunk: ChunkKey) async throws -> Outcome {
        let key: [PostgresParameter] = [.uuid(chunk.blast), .int4(chunk.number)]
        return try await pool.withTransaction { connection in
            guard let bounds = try await connection.query(Self.findChunk, key).first else { return .unknown }
            guard try await connection.query(Self.claimChunk, key).affectedRows == 1 else {
                _ = try await connection.query(Self.repeatChunk, key)
                return .repeated
            }
            let range: [PostgresParameter] = [.int4(try bounds.int32("first_no")), .int4(try bounds.int32("last_no"))]
            var excluded: [DeliveryFact: Int] = [:]
            var recipients = 0
            for row in try await connection.query(Self.decide, key + range) {
                let count = Int(try row.int("n"))
                guard let bit = try row.optionalInt("fact") else {
                    recipients = count
                    continue
                }
                guard let fact = UInt8(exactly: bit).flatMap(DeliveryFact.init(rawValue:)) else {
                    throw LoopError("decided fact \(bit), which is none")
                }
                excluded[fact] = count
            }
            let total = excluded.values.reduce(0, +)
            if total > 0 { _ = try await connection.query(Self.countExcluded, key + [.int4(Int32(total))]) }
            return .screened(recipients: recipients, excluded: excluded)
        }
    }

    private static let findChunk = """
        SELECT c.first_no, c.last_no FROM chunk c JOIN blast b USING (blast_id)
         WHERE c.blast_id = $1 AND c.chunk_no = $2 AND b.state <> 'draft'
        """

    private static let claimChunk = """
        INSERT INTO screened_chunk (blast_id, chunk_no, district_id, class, excluded)
        SELECT blast_id, $2, district_id, class, 0 FROM blast WHERE blast_id = $1
        ON CONFLICT DO NOTHING
        """

    /// One that is being published at this moment, or was a moment ago, needs no second time.
    private static let repeatChunk = """
        UPDATE screened_chunk SET reported_at = NULL
         WHERE (blast_id, chunk_no) IN (SELECT blast_id, chunk_no FROM screened_chunk
                                         WHERE blast_id = $1 AND chunk_no = $2
                                           AND reported_at < clock_timestamp() - interval '5 seconds'
                                           FOR UPDATE SKIP LOCKED)
        """

    private static let countExcluded = "UPDATE screened_chunk SET excluded = $3 WHERE blast_id = $1 AND chunk_no = $2"

    /// Each list is asked by its key once per recipient, whatever the planner knows about the tables: LIMIT and
    /// OFFSET keep the subqueries from becoming joins over whole tables.
    private static let decide = """
        WITH looked_up AS MATERIALIZED (
            SELECT r.recipient_no, r.district_id, r.fault, r.fault_reason, b.category,
                   b.class <> 'emergency' AND NOT coalesce(b.category = ANY (r.categories), true) AS unselected,
                   left_blasts.category AS opted_out, left_blasts.occurred_at AS opted_out_at,
                   blocked.reason AS blocked, blocked.last_seen AS blocked_at, earlier.recipient_no AS original_no,
                   claim.blast_id AS claim_blast, claim.recipient_no AS claim_no, claim.at AS claim_at
              FROM blast b
              JOIN recipient r ON r.blast_id = b.blast_id AND r.recipient_no BETWEEN $3 AND $4
              LEFT JOIN LATERAL (
                   SELECT o.category, o.occurred_at FROM opt_out o
                    WHERE b.class <> 'emergency' AND o.district_id = b.district_id
                      AND o.address_hash = r.address_hash AND o.active AND o.category IN ('*', b.category)
                    ORDER BY o.category LIMIT 1) left_blasts ON true
              LEFT JOIN LATERAL (
                   SELECT l.reason, l.last_seen FROM blacklist l
                    WHERE l.district_id = b.district_id AND l.address_hash = r.address_hash AND l.active
                    LIMIT 1) blocked ON true
              LEFT JOIN LATERAL (
                   SELECT e.recipient_no FROM recipient e
                    WHERE b.dedupe_address AND left_blasts.category IS NULL AND blocked.reason IS NULL
                      AND e.blast_id = $1 AND e.address_hash = r.address_hash AND e.recipient_no < r.recipient_no
                      AND (b.class = 'emergency' OR coalesce(b.category = ANY (e.categories), true))
                      AND NOT EXISTS (SELECT FROM decision d
                                       WHERE d.blast_id = $1 AND d.recipient_no = e.recipient_no OFFSET 0)
                    ORDER BY e.recipient_no LIMIT 1) earlier ON true
              LEFT JOIN LATERAL (
                   SELECT h.blast_id, h.recipient_no, h.at FROM content_claim h
                    WHERE b.class <> 'emergency' AND b.parent_blast_id IS NULL AND h.district_id = b.district_id
                      AND h.address_hash = r.address_hash AND h.content_hash = b.content_hash
                      AND h.state = 'handed_over' AND h.blast_id <> b.blast_id
                      AND h.at > clock_timestamp() - b.content_window LIMIT 1) claim ON true
             WHERE b.blast_id = $1 AND r.blast_id = $1
        ), decided AS (
            SELECT *, CASE
                WHEN fault IS NOT NULL THEN fault
                WHEN unselected THEN 8
                WHEN opted_out IS NOT NULL THEN 9
                WHEN blocked = 'bounce' THEN 11
                WHEN blocked = 'complaint' THEN 12
                WHEN blocked IS NOT NULL THEN 13
                WHEN original_no IS NOT NULL OR claim_no IS NOT NULL THEN 10
            END AS fact FROM looked_up
        ), kept AS (
            INSERT INTO decision (blast_id, recipient_no, district_id, chunk_no, fact, rule, detail,
                                  original_blast_id, original_recipient_no)
            SELECT $1, recipient_no, district_id, $2, fact,
                CASE fact
                    WHEN 6 THEN 'no_address' WHEN 14 THEN 'address_syntax' WHEN 8 THEN 'category'
                    WHEN 9 THEN 'opt_out'
                    WHEN 10 THEN CASE WHEN original_no IS NULL THEN 'duplicate_content' ELSE 'duplicate_address' END
                    ELSE 'blacklist_' || blocked END,
                CASE fact
                    WHEN 6 THEN coalesce(fault_reason, 'The list has no e-mail address for this recipient.')
                    WHEN 14 THEN coalesce(fault_reason, 'The address cannot be used.')
                    WHEN 8 THEN 'This address is not selected for "' || category || '" messages.'
                    WHEN 9 THEN CASE opted_out
                        WHEN '*' THEN 'Opted out of all blasts on '
                        ELSE 'Opted out of "' || category || '" messages on ' END
                        || to_char(opted_out_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') || '.'
                    WHEN 10 THEN CASE
                        WHEN original_no IS NULL THEN 'The same message was sent to this address at '
                            || to_char(claim_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC.'
                        ELSE 'Same address as recipient ' || original_no || ' of this blast; one message is enough.' END
                    ELSE CASE blocked
                        WHEN 'bounce' THEN 'On the blacklist: mail to this address was returned, last on '
                        WHEN 'complaint' THEN 'On the blacklist: a message was marked as spam, last on '
                        WHEN 'invalid' THEN 'On the blacklist: the address was found invalid on '
                        ELSE 'On the blacklist: blocked by hand on ' END
                        || to_char(blocked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') || '.'
                END,
                CASE WHEN fact = 10 AND original_no IS NULL THEN claim_blast WHEN fact = 10 THEN $1 END,
                CASE WHEN fact = 10 THEN coalesce(original_no, claim_no) END
              FROM decided WHERE fact IS NOT NULL
            ON CONFLICT DO NOTHING
            RETURNING fact
        )
        SELECT fact, count(*) AS n FROM kept GROUP BY fact
        UNION ALL SELECT NULL, count(*) FROM looked_up
        """
}
