import Delivery
import Logging
import Postgres
import Runtime

/// Holds a blast whose list is bad before it costs the district its good name, and reports one that does not get going.
///
/// Bounces are taken as a share of the recipients that were tried, invalid addresses as a share of the list, because all
/// of them may be known before the first message goes out. A held blast waits for its sender, who may resume it; the
/// breaker then looks again once twice as many were tried. An emergency is reported and never held.
///
/// Any sender does this; the row makes one of them do it. Limit: bounces count from when the projector knows them.
struct BlastBreaker: Sendable {
    static let trip = """
        WITH tally AS MATERIALIZED (
            SELECT b.blast_id, b.audience,
                   coalesce(sum(c.n) FILTER (WHERE c.facts & $1 <> 0), 0)::bigint AS tried,
                   coalesce(sum(c.n) FILTER (WHERE c.facts & $2 <> 0), 0)::bigint AS bounced,
                   coalesce(sum(c.n) FILTER (WHERE c.facts & $3 <> 0), 0)::bigint AS invalid
              FROM blast b JOIN blast_count c ON c.blast_id = b.blast_id
             WHERE b.state = 'sending' AND NOT \(BlastGate.hasEnded) AND NOT \(BlastGate.isHeld)
             GROUP BY b.blast_id, b.audience
        ), bad AS MATERIALIZED (
            SELECT t.*, bounced * 100.0 / tried + invalid * 100.0 / audience AS share
              FROM tally t WHERE tried >= $4 AND tried > 0 AND audience > 0
        )
        UPDATE blast b
           SET held_at = CASE WHEN b.class <> 'emergency' THEN clock_timestamp() END, held_after = bad.tried,
               held_reason = 'Of ' || bad.tried || ' tried ' || bad.bounced || ' came back ('
                             || round(bad.bounced * 100.0 / bad.tried, 1) || ' %), and of ' || bad.audience
                             || ' on the list ' || bad.invalid || ' are invalid ('
                             || round(bad.invalid * 100.0 / bad.audience, 1) || ' %)'
          FROM bad
         WHERE b.blast_id = bad.blast_id AND bad.share >= $5 AND bad.tried >= 2 * coalesce(b.held_after, 0)
           AND b.state = 'sending'
        RETURNING b.blast_id, b.district_id, b.held_reason, b.held_at IS NOT NULL AS held
        """
    /// Time in which a blast had to wait does not count.
    static let watch = """
        UPDATE blast b
           SET idle_since = CASE WHEN i.idle THEN clock_timestamp() END
          FROM (SELECT b.blast_id,
                       NOT \(BlastGate.hasEnded) AND NOT \(BlastGate.isHeld)
                       AND NOT EXISTS (SELECT FROM attempt a
                                        WHERE a.blast_id = b.blast_id
                                          AND a.state IN ('in_doubt', 'accepted', 'resolved_sent')) AS idle
                  FROM blast b WHERE b.state = 'sending') i
         WHERE b.blast_id = i.blast_id AND b.state = 'sending' AND i.idle <> (b.idle_since IS NOT NULL)
        """
    static let stalled = """
        UPDATE blast b SET stall_reported_at = clock_timestamp()
         WHERE b.state = 'sending' AND b.idle_since < clock_timestamp() - $1 * interval '1 microsecond'
           AND coalesce(b.stall_reported_at < b.idle_since, true)
        RETURNING b.blast_id, b.district_id
        """
    private static let gauges = """
        SELECT count(*) FILTER (WHERE b.is_held) AS held,
               count(*) FILTER (WHERE b.stall_reported_at > b.idle_since) AS stalled,
               (SELECT count(*) FROM operator_pause WHERE ended_at IS NULL) AS paused
          FROM blast b WHERE b.state = 'sending'
        """

    static let bounced = DeliveryFacts(.bounced, .bouncedInvalid)
    /// Whoever was handed over or refused.
    static let tried = bounced.union(
        DeliveryFacts(
            .sent, .delayed, .delivered, .opened, .clicked, .acknowledged, .responded, .optedOut, .complained))

    let database: PostgresPool
    /// Percent.
    let share: Int
    let after: Int
    let stallAfter: Duration
    let metrics: SenderMetrics
    let logger: Logger

    func look() async throws {
        let rows = try await database.query(
            Self.trip,
            [
                .int(Self.tried.bits), .int(Self.bounced.bits), .int(DeliveryFacts(.invalid).bits), .int(Int64(after)),
                .int(Int64(share)),
            ])
        for row in rows {
            metrics.breakerTrips.increment()
            let isHeld = try row.bool("held")
            let reason = try row.string("held_reason")
            let (blast, district) = (try row.blastID("blast_id"), try row.int("district_id"))
            logger.critical(
                isHeld
                    ? "a blast was held: too many of its addresses are bad"
                    : "too many addresses of an emergency blast are bad; it goes on",
                metadata: ["blast": "\(blast)", "district": "\(district)", "reason": "\(reason)"])
        }
        _ = try await database.query(Self.watch)
        for row in try await database.query(Self.stalled, [.int(stallAfter.wholeMicroseconds)]) {
            let (blast, district) = (try row.blastID("blast_id"), try row.int("district_id"))
            logger.critical(
                "nothing of a blast was handed over although it could be",
                metadata: ["blast": "\(blast)", "district": "\(district)", "for": "\(stallAfter)"])
        }
        guard let row = try await database.query(Self.gauges).first else { return }
        metrics.blastsHeld.set(Int(try row.int("held")))
        metrics.blastsStalled.set(Int(try row.int("stalled")))
        metrics.operatorPause.set(Int(try row.int("paused")))
    }
}
