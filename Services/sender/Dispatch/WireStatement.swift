import Delivery

extension Wire {
    /// True when the guard has learned everything up to a moment ago, in every partition. `$n` is the freshness in
    /// microseconds.
    static func guardIsFresh(_ freshness: String) -> String {
        """
        (SELECT coalesce(bool_and(coalesce(
                    p.caught_up_at >= clock_timestamp() - \(freshness) * interval '1 microsecond', false)), false)
           FROM guard_progress p)
        """
    }

    /// Facts by number (`Shared/Requirements.md`): 7 consent_denied, 9 skipped, 10 duplicate, 11 blocked_bounce,
    /// 12 blocked_complaint, 13 blocked_invalid, 16 cancelled.
    ///
    /// The content claim is decided by the unique row, never by what was read before: a loser that reads the winner as
    /// handed over is a duplicate, any other loser is put back and asks again. Whether it was, its attempt says, which is
    /// asked only here. It may be read as it was when this statement began, therefore only a claim that is itself older
    /// than the window changes hands. Claims are taken in key order, so that two windows cannot wait for each other.
    static func statement(of entries: [WireEntry], _ blast: BlastID) -> String {
        entries.contains { $0.attempt > 1 } ? following(blast) : first(blast)
    }

    /// For recipients who were not tried before.
    private static let first = DayStatement { parts(day: $0, follows: false).text }
    private static let following = DayStatement { parts(day: $0, follows: true).text }

    static func parts(day: String, follows: Bool = false) -> StatementParts {
        StatementParts(with: with(day: day, follows: follows), answer: answer)
    }

    private static let answer = """
        SELECT g.lease_live, g.paused, EXISTS (SELECT FROM passage) AS open, statement_timestamp() AS wire_at,
               i.recipient_no, i.attempt_no, i.state, i.fact
          FROM gate g LEFT JOIN inserted i ON true
        """

    private static func with(day: String, follows: Bool) -> String {
        """
        gate AS MATERIALIZED (
            SELECT b.district_id, b.category, b.class, b.content_window, b.class = 'emergency' AS emergency,
                   b.class = 'emergency' OR b.parent_blast_id IS NOT NULL AS claimless,
                   \(BlastGate.endReason) AS ended,
                   \(BlastGate.isHeld) AS paused,
                   EXISTS (SELECT FROM sender_lease l
                            WHERE l.token = $2
                              AND l.lease_until > clock_timestamp() + $3 * interval '1 microsecond') AS lease_live,
                   b.class = 'emergency' OR \(guardIsFresh("$4")) AS guard_fresh
              FROM blast b
             WHERE b.blast_id = $1 AND b.state = 'sending'
        ), passage AS MATERIALIZED (
            SELECT * FROM gate WHERE lease_live AND (ended IS NOT NULL OR NOT paused AND guard_fresh)
        ), entry AS (
            SELECT * FROM unnest($5::int[], $6::int[], $7::int[], $8::bytea[], $9::bytea[], $10::bool[], $11::bigint[],
                                 $12::text[])
                   AS e(recipient_no, attempt_no, chunk_no, address_hash, content_hash, resend, fault, fault_reason)
        )\(follows ? taken(day) : ""), judged AS MATERIALIZED (
            SELECT e.*, g.district_id, e.resend OR g.claimless AS exempt,
                   CASE WHEN g.ended IS NOT NULL THEN 16
                        WHEN e.fault IS NOT NULL THEN e.fault
                        WHEN refuses_consent(r.consent_refused, g.category, g.class) THEN 7
                        WHEN o.category IS NOT NULL THEN 9
                        WHEN s.reason = 'bounce' THEN 11
                        WHEN s.reason = 'complaint' THEN 12
                        WHEN s.reason IS NOT NULL THEN 13
                   END AS stop,
                   CASE WHEN g.ended IS NOT NULL THEN g.ended
                        WHEN e.fault IS NOT NULL THEN e.fault_reason
                        WHEN refuses_consent(r.consent_refused, g.category, g.class)
                             THEN 'Consent to "' || g.category || '" messages was refused.'
                        WHEN o.category = '*' THEN 'opted out of everything'
                        WHEN o.category IS NOT NULL THEN 'opted out of ' || o.category
                        WHEN s.reason IS NOT NULL THEN 'blacklisted: ' || s.reason
                   END AS stop_reason
              FROM passage g
             CROSS JOIN entry e
              LEFT JOIN LATERAL (
                   SELECT p.consent_refused FROM recipient\(day) p
                    WHERE p.blast_id = $1 AND p.recipient_no = e.recipient_no
                   OFFSET 0) r ON true
              LEFT JOIN LATERAL (
                   SELECT q.category FROM opt_out q
                    WHERE NOT g.emergency AND q.district_id = g.district_id AND q.address_hash = e.address_hash
                      AND q.category IN (g.category, '*') AND q.active
                    ORDER BY q.category LIMIT 1) o ON true
              LEFT JOIN blacklist s
                   ON s.district_id = g.district_id AND s.address_hash = e.address_hash AND s.active
             \(follows ? "WHERE e.attempt_no = 1 OR e.recipient_no IN (SELECT t.recipient_no FROM taken t)" : "")
        ), claimed AS (
            INSERT INTO content_claim AS c
                   (district_id, address_hash, content_hash, blast_id, recipient_no, at)
            SELECT f.district_id, f.address_hash, f.content_hash, $1, f.recipient_no, clock_timestamp()
              FROM (SELECT DISTINCT ON (j.address_hash, j.content_hash) j.*
                      FROM judged j
                     WHERE j.stop IS NULL AND NOT j.exempt
                     ORDER BY j.address_hash, j.content_hash, j.recipient_no) f
            ON CONFLICT (district_id, address_hash, content_hash) DO UPDATE
               SET blast_id = excluded.blast_id, recipient_no = excluded.recipient_no, at = excluded.at
             WHERE c.blast_id = excluded.blast_id AND c.recipient_no = excluded.recipient_no
                OR c.at <= clock_timestamp() - (SELECT g.content_window FROM gate g)
                   AND handed_over_at(c.blast_id, c.recipient_no, c.at)
                       <= clock_timestamp() - (SELECT g.content_window FROM gate g)
            RETURNING c.recipient_no
        ), verdict AS (
            SELECT j.*, h.blast_id AS original_blast, h.recipient_no AS original_no,
                   CASE WHEN j.stop IS NOT NULL THEN 'stopped'
                        WHEN j.may_go THEN 'wire'
                        WHEN h.handed_over_at > clock_timestamp() - (SELECT g.content_window FROM gate g)
                             THEN 'duplicate'
                        ELSE 'requeued'
                   END AS outcome
              FROM (SELECT e.*, e.exempt OR e.recipient_no IN (SELECT k.recipient_no FROM claimed k) AS may_go
                      FROM judged e
                    OFFSET 0) j
              LEFT JOIN LATERAL (
                   SELECT c.blast_id, c.recipient_no,
                          handed_over_at(c.blast_id, c.recipient_no, c.at) AS handed_over_at
                     FROM content_claim c
                    WHERE j.stop IS NULL AND NOT j.may_go
                      AND c.district_id = j.district_id AND c.address_hash = j.address_hash
                      AND c.content_hash = j.content_hash
                   OFFSET 0) h ON true
        ), inserted AS (
            INSERT INTO attempt\(day)
                   (blast_id, recipient_no, attempt_no, district_id, chunk_no, state, fact, lease_token, address_hash,
                    content_hash, reply, wire_at, settled_at, next_at)
            SELECT $1, v.recipient_no, v.attempt_no, v.district_id, v.chunk_no,
                   CASE v.outcome WHEN 'wire' THEN \(AttemptMachine.state(.wired))
                                  WHEN 'requeued' THEN \(AttemptMachine.state(.heldBack))
                                  ELSE \(AttemptMachine.state(.stopped)) END,
                   CASE v.outcome WHEN 'duplicate' THEN 10 WHEN 'stopped' THEN v.stop END::smallint,
                   $2, v.address_hash, v.content_hash,
                   CASE v.outcome
                        WHEN 'duplicate' THEN 'the same content was handed over to this address as '
                                              || v.original_blast || '/' || v.original_no
                        WHEN 'stopped' THEN v.stop_reason
                        WHEN 'requeued' THEN 'the same content is on its way to this address'
                   END,
                   statement_timestamp(), CASE WHEN v.outcome <> 'wire' THEN clock_timestamp() END,
                   CASE WHEN v.outcome = 'requeued' THEN clock_timestamp() + interval '2 seconds' END
              FROM verdict v
            RETURNING recipient_no, attempt_no, state, fact
        )
        """
    }

    /// The earlier attempts of those who are tried again; whose attempt somebody else took is left out.
    private static func taken(_ day: String) -> String {
        """
        , taken AS (
            UPDATE attempt\(day) p SET next_at = NULL
              FROM passage, entry e
             WHERE p.blast_id = $1 AND p.recipient_no = e.recipient_no AND p.attempt_no = e.attempt_no - 1
               AND \(AttemptMachine.admits(.followed, "p"))
            RETURNING p.recipient_no
        )
        """
    }
}
