import Delivery
import Postgres
import Runtime

/// Finds what stopped processes left on the wire, and resolves doubt.
///
/// An attempt in `wire` under a dead lease may have been handed over: it becomes in doubt once no process can still write
/// its final dot. So it does under a live one when no answer can come any more. Doubt ends by evidence (something that
/// only an accepted message can cause), by a late answer, by what an operator found out, or after `inDoubtAfter` by the
/// policy that the blast declared. Any sender does this; rows being worked on are passed over.
struct Reaper: Sendable {
    private static let batchMax = 500
    private static let clockMargin = Duration.seconds(2)
    /// Added to the longest time in which an answer may come.
    private static let answerMargin = Duration.seconds(60)

    /// The claim stays, because the message may have been handed over.
    static let abandon = """
        WITH lost AS MATERIALIZED (
            SELECT a.blast_id, a.recipient_no, a.attempt_no
              FROM attempt a
             WHERE \(AttemptMachine.admits(.abandoned, "a"))
               AND a.wire_at < clock_timestamp() - $1 * interval '1 microsecond'
               AND (a.wire_at < clock_timestamp() - $3 * interval '1 microsecond'
                    OR NOT EXISTS (SELECT FROM sender_lease l
                                    WHERE l.token = a.lease_token AND l.lease_until > clock_timestamp()))
             ORDER BY a.wire_at
             LIMIT $2
               FOR UPDATE OF a SKIP LOCKED
        ), doubted AS (
            UPDATE attempt a
               SET \(AttemptMachine.becomes(.abandoned)), settled_at = clock_timestamp(), reported_at = NULL,
                   reply = 'the sender stopped before it wrote down an answer'
              FROM lost l
             WHERE a.blast_id = l.blast_id AND a.recipient_no = l.recipient_no AND a.attempt_no = l.attempt_no
            RETURNING a.recipient_no
        )
        SELECT count(*) AS n FROM doubted
        """
    /// Evidence waits until the doubt itself is said: the row's fact would take its place.
    static let resolveByEvidence = """
        WITH proven AS MATERIALIZED (
            SELECT a.blast_id, a.recipient_no, a.attempt_no
              FROM attempt a
              JOIN delivery_status s ON s.blast_id = a.blast_id AND s.recipient_no = a.recipient_no
             WHERE a.state = 'in_doubt' AND \(AttemptMachine.admits(.proven, "a")) AND s.facts & $1 <> 0
               AND a.reported_at IS NOT NULL
               AND NOT EXISTS (SELECT FROM attempt_report r, unnest(r.blast_ids, r.recipient_nos, r.attempt_nos)
                                                             AS u (blast_id, recipient_no, attempt_no)
                                WHERE u.blast_id = a.blast_id AND u.recipient_no = a.recipient_no
                                  AND u.attempt_no = a.attempt_no)
             LIMIT $2
               FOR UPDATE OF a SKIP LOCKED
        )
        UPDATE attempt a
           SET \(AttemptMachine.becomes(.proven)), settled_at = clock_timestamp(), reported_at = NULL,
               reply = 'accepted, as later events show'
          FROM proven p
         WHERE a.blast_id = p.blast_id AND a.recipient_no = p.recipient_no AND a.attempt_no = p.attempt_no
        RETURNING a.recipient_no
        """
    static let resolveByPolicy = """
        WITH old AS MATERIALIZED (
            SELECT a.blast_id, a.recipient_no, a.attempt_no,
                   (SELECT b.in_doubt_policy = 'at_least_once' FROM blast b WHERE b.blast_id = a.blast_id) AS repeats
              FROM attempt a
             WHERE \(AttemptMachine.admits(.givenUp, "a")) AND \(AttemptMachine.admits(.repeated, "a"))
               AND a.settled_at < clock_timestamp() - $1 * interval '1 microsecond'
             LIMIT $2
               FOR UPDATE OF a SKIP LOCKED
        )
        UPDATE attempt a
           SET state = CASE WHEN o.repeats THEN \(AttemptMachine.state(.repeated))
                            ELSE \(AttemptMachine.state(.givenUp)) END,
               fact = CASE WHEN o.repeats THEN a.fact ELSE \(AttemptMachine.fact(.givenUp)) END,
               next_at = CASE WHEN o.repeats THEN clock_timestamp() END,
               reported_at = CASE WHEN o.repeats THEN a.reported_at END,
               settled_at = clock_timestamp()
          FROM old o
         WHERE a.blast_id = o.blast_id AND a.recipient_no = o.recipient_no AND a.attempt_no = o.attempt_no
        RETURNING a.state
        """
    /// What operators found out, in the rows that their tool writes; a row whose attempt has had its answer is spent.
    static let resolveByOperator = """
        WITH asked AS MATERIALIZED (
            SELECT a.blast_id, a.recipient_no, a.attempt_no, s.was_sent, s.reason
              FROM doubt_settlement s
              JOIN attempt a ON a.blast_id = s.blast_id AND a.recipient_no = s.recipient_no
                            AND a.attempt_no = s.attempt_no
             WHERE CASE WHEN s.was_sent THEN \(AttemptMachine.admits(.proven, "a"))
                        ELSE \(AttemptMachine.admits(.refuted, "a")) END
             LIMIT $1
               FOR UPDATE OF a SKIP LOCKED
        ), settled AS (
            UPDATE attempt a
               SET state = CASE WHEN k.was_sent THEN \(AttemptMachine.state(.proven))
                                ELSE \(AttemptMachine.state(.refuted)) END,
                   fact = CASE WHEN k.was_sent THEN \(AttemptMachine.fact(.proven))
                               ELSE \(AttemptMachine.fact(.refuted)) END,
                   next_at = NULL, settled_at = clock_timestamp(), reported_at = NULL,
                   reply = 'an operator settled what was in doubt: ' || k.reason
              FROM asked k
             WHERE a.blast_id = k.blast_id AND a.recipient_no = k.recipient_no AND a.attempt_no = k.attempt_no
            RETURNING a.district_id, a.address_hash, a.content_hash, a.blast_id, a.recipient_no, a.state, k.was_sent
        ), claim AS MATERIALIZED (
            SELECT c.district_id, c.address_hash, c.content_hash
              FROM settled s JOIN content_claim c USING (district_id, address_hash, content_hash)
             WHERE NOT s.was_sent AND c.blast_id = s.blast_id AND c.recipient_no = s.recipient_no
             ORDER BY c.district_id, c.address_hash, c.content_hash
               FOR UPDATE OF c
        ), released AS (
            DELETE FROM content_claim c USING claim n
             WHERE c.district_id = n.district_id AND c.address_hash = n.address_hash
               AND c.content_hash = n.content_hash
        )
        SELECT state FROM settled
        """
    private static let gauges = """
        SELECT (SELECT count(*) FROM attempt WHERE state = 'in_doubt') AS in_doubt,
               (SELECT count(*) FROM chunk WHERE state = 'cleared') AS chunks,
               (SELECT count(*) FROM attempt WHERE fact IS NOT NULL AND reported_at IS NULL)
               + (SELECT coalesce(sum(cardinality(recipient_nos)), 0) FROM attempt_report) AS unreported,
               (SELECT count(*) FROM attempt WHERE next_at IS NOT NULL) AS due
        """

    /// What only a message that was accepted can cause.
    static let evidence = DeliveryFacts.acceptanceEvidenceMask.union(DeliveryFacts(.bounced, .bouncedInvalid))

    let database: PostgresPool
    let dotDeadline: Duration
    let replyTimeout: Duration
    let inDoubtAfter: Duration
    let metrics: SenderMetrics

    /// One round; returns true when there may be more.
    func reap() async throws -> Bool {
        let limit = PostgresParameter.int(Int64(Self.batchMax))
        let age = dotDeadline + Self.clockMargin
        let longest = dotDeadline + replyTimeout + Self.answerMargin
        let lost = try await database.query(
            Self.abandon, [.int(age.wholeMicroseconds), limit, .int(longest.wholeMicroseconds)])
        let abandoned = try lost.first?.int("n") ?? 0
        let proven = try await database.query(Self.resolveByEvidence, [.int(Self.evidence.bits), limit])
        let told = try await database.query(Self.resolveByOperator, [limit])
        let old = try await database.query(Self.resolveByPolicy, [.int(inDoubtAfter.wholeMicroseconds), limit])
        for _ in 0..<abandoned { metrics.settled(.inDoubt) }
        for _ in proven { metrics.settled(.resolvedSent) }
        for row in Array(told) + Array(old) {
            if let state = AttemptState(rawValue: try row.string("state")) { metrics.settled(state) }
        }
        return [Int(abandoned), proven.count, told.count, old.count].contains(Self.batchMax)
    }

    func readGauges() async throws {
        guard let row = try await database.query(Self.gauges).first else { return }
        metrics.inDoubt.set(Int(try row.int("in_doubt")))
        metrics.chunksWaiting.set(Int(try row.int("chunks")))
        metrics.unreported.set(Int(try row.int("unreported")))
        metrics.dueRetries.set(Int(try row.int("due")))
    }
}
