import Delivery
import Postgres
import Runtime

/// The blacklist and the opt-outs, and what brought addresses there.
///
/// Only a cause that was never seen before changes anything: one row per address, delivery and fact, for ever. So an
/// event that is repeated years later, or stated again under another id, never blocks an address that staff have
/// reset; nor does a cause from before the reset that arrives late. Causes from the future are dated now.
///
/// `bounced`, `bounced_invalid` and `complained` block at once; `expired` blocks once the ``SoftBounceRule`` is met.
/// While an address is blocked its reason stays, except that a complaint replaces any other.
///
/// `opted_out` opts the address out of the blast's category, since one-click unsubscribing (RFC 8058) ends a list; an
/// unsubscription from a `general` blast ends all blasts (I-19).
struct BlacklistLedger: Sendable {
    let pool: PostgresPool
    let rule: SoftBounceRule

    /// Commits before it returns the number of addresses whose block or opt-out changed. `progress` is stored in the
    /// same transaction.
    func learn(_ lessons: [Lesson], progress: GuardProgress.Position? = nil) async throws -> Int {
        let causes = lessons.filter { $0.fact != .optedOut }
        let optOuts = lessons.filter { $0.fact == .optedOut }
        return try await pool.withTransaction { connection in
            var changed = 0
            if !causes.isEmpty {
                if causes.contains(where: { $0.fact == .expired }) {
                    // Two guards that each add one of the deciding causes must see each other's.
                    _ = try await connection.query("SELECT pg_advisory_xact_lock(hashtext('rollcall.guard.expired'))")
                }
                changed += try await connection.query(
                    Self.addCauses,
                    Self.parameters(causes) + [
                        .int(rule.window.components.seconds), .int(Int64(rule.deliveries)),
                    ]
                ).affectedRows
            }
            if !optOuts.isEmpty {
                changed += try await connection.query(Self.addOptOuts, Self.parameters(optOuts)).affectedRows
            }
            if let progress { try await progress.store(connection) }
            return changed
        }
    }

    private static func parameters(_ lessons: [Lesson]) -> [PostgresParameter] {
        [
            .uuidArray(lessons.map(\.delivery.blast)),
            .int4Array(lessons.map(\.delivery.recipientNumber)), .int4Array(lessons.map { Int32($0.fact.rawValue) }),
            .textArray(lessons.map(\.eventID)), .timestampArray(lessons.map(\.occurredAtMicroseconds)),
            .textArray(lessons.map(\.evidence)),
        ]
    }

    /// The recipients that events name. OFFSET keeps it one look-up by key per event, whatever the planner knows.
    private static let told = """
        told AS MATERIALIZED (
            SELECT r.district_id, r.address_hash, r.address, e.blast_id, e.recipient_no, e.fact::smallint AS fact,
                   e.event_id, least(e.occurred_at, clock_timestamp()) AS occurred_at, e.evidence
              FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::timestamptz[], $6::text[])
                   AS e (blast_id, recipient_no, fact, event_id, occurred_at, evidence)
             CROSS JOIN LATERAL (
                   SELECT r.district_id, r.address_hash, r.address FROM recipient r
                    WHERE r.blast_id = e.blast_id AND r.recipient_no = e.recipient_no
                      AND r.address_hash IS NOT NULL
                   OFFSET 0) r
        )
        """

    private static let addCauses = """
        WITH \(told), new_cause AS (
            INSERT INTO blacklist_cause (district_id, address_hash, blast_id, recipient_no, fact, event_id,
                                         occurred_at, evidence)
            SELECT DISTINCT ON (district_id, address_hash, blast_id, recipient_no, fact)
                   district_id, address_hash, blast_id, recipient_no, fact, event_id, occurred_at,
                   nullif(evidence, '')
              FROM told ORDER BY district_id, address_hash, blast_id, recipient_no, fact, occurred_at
            ON CONFLICT DO NOTHING
            RETURNING district_id, address_hash, blast_id, recipient_no, fact, occurred_at
        ), since_reset AS (
            SELECT n.*, (SELECT t.address FROM told t
                          WHERE t.blast_id = n.blast_id AND t.recipient_no = n.recipient_no LIMIT 1) AS address,
                   b.reset_at,
                   max(n.occurred_at) OVER (PARTITION BY n.district_id, n.address_hash) AS newest
              FROM new_cause n
              LEFT JOIN LATERAL (
                   SELECT b.reset_at FROM blacklist b
                    WHERE b.district_id = n.district_id AND b.address_hash = n.address_hash LIMIT 1) b ON true
             WHERE n.occurred_at > coalesce(b.reset_at, '-infinity')
        ), by_address AS (
            SELECT district_id, address_hash, reset_at, count(*) AS causes,
                   (array_agg(address ORDER BY occurred_at DESC))[1] AS address,
                   (array_agg(blast_id ORDER BY occurred_at DESC))[1] AS blast_id,
                   (array_agg(recipient_no ORDER BY occurred_at DESC))[1] AS recipient_no,
                   bool_or(fact = 44) AS complained, bool_or(fact <> 25) AS is_hard,
                   count(*) FILTER (WHERE fact = 25 AND occurred_at > newest - $7 * interval '1 second') AS expired,
                   min(occurred_at) AS first_seen, max(occurred_at) AS last_seen
              FROM since_reset GROUP BY district_id, address_hash, reset_at
        )
        INSERT INTO blacklist AS b (district_id, address_hash, address, reason, causes, first_seen, last_seen,
                                    origin_blast_id, origin_recipient_no)
        SELECT a.district_id, a.address_hash, a.address, CASE WHEN complained THEN 'complaint' ELSE 'bounce' END,
               a.causes, a.first_seen, a.last_seen, a.blast_id, a.recipient_no
          FROM by_address a
         WHERE a.is_hard
            OR a.expired + (SELECT count(*) FROM blacklist_cause c
                             WHERE c.district_id = a.district_id AND c.address_hash = a.address_hash AND c.fact = 25
                               AND c.occurred_at > greatest(a.last_seen - $7 * interval '1 second', a.reset_at)) >= $8
         ORDER BY a.district_id, a.address_hash
        ON CONFLICT (district_id, address_hash) DO UPDATE SET
            active = true,
            reason = CASE WHEN b.active AND excluded.reason <> 'complaint' THEN b.reason ELSE excluded.reason END,
            causes = b.causes + excluded.causes,
            first_seen = least(b.first_seen, excluded.first_seen),
            last_seen = greatest(b.last_seen, excluded.last_seen),
            origin_blast_id = CASE WHEN b.active THEN b.origin_blast_id ELSE excluded.origin_blast_id END,
            origin_recipient_no =
                CASE WHEN b.active THEN b.origin_recipient_no ELSE excluded.origin_recipient_no END,
            version = b.version + 1, reported_at = NULL
         WHERE b.active OR excluded.last_seen > b.reset_at
        """

    private static let addOptOuts = """
        WITH \(told)
        INSERT INTO opt_out AS o (district_id, address_hash, category, origin_blast_id, origin_recipient_no, event_id,
                                  occurred_at)
        SELECT DISTINCT ON (t.district_id, t.address_hash, b.category)
               t.district_id, t.address_hash, b.category, t.blast_id, t.recipient_no, t.event_id, t.occurred_at
          FROM told t
          JOIN LATERAL (SELECT CASE b.category WHEN 'general' THEN '*' ELSE b.category END AS category
                          FROM blast b WHERE b.blast_id = t.blast_id OFFSET 0) b ON true
         ORDER BY t.district_id, t.address_hash, b.category, t.occurred_at DESC
        ON CONFLICT (district_id, address_hash, category) DO UPDATE SET
            active = true, origin_blast_id = excluded.origin_blast_id,
            origin_recipient_no = excluded.origin_recipient_no, event_id = excluded.event_id,
            occurred_at = excluded.occurred_at
         WHERE NOT o.active AND excluded.occurred_at > o.occurred_at
        """
}
