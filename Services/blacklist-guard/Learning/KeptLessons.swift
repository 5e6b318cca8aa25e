import Delivery
import Postgres

/// The lessons that the database keeps, in pages: what the projector has folded of every document not expired.
///
/// The guard learns from the topic. What a broker lost before the guard had read it never comes back once the projector
/// has it, since only facts that the status lacks are published again. Then it is learned from here.
///
/// First entries into problem facts lead to it, a small part of all deliveries; each one's log record is found along
/// the delivery's chain.
struct KeptLessons: Sendable {
    /// Behind which row a page begins.
    struct Place: Sendable, Equatable {
        static let start = Place(blast: BlastID(high: 0, low: 0), fact: 0, recipient: 0)

        let blast: BlastID
        let fact: Int32
        let recipient: Int32
    }

    struct Page: Sendable {
        let lessons: [Lesson]
        /// Nil when this is the last page.
        let next: Place?
    }

    let pool: PostgresPool

    func page(after place: Place, size: Int = 1_000) async throws -> Page {
        let rows = try await pool.query(
            Self.readPage,
            [
                .uuid((place.blast.high, place.blast.low)), .int4(place.fact), .int4(place.recipient),
                .int4Array(Lesson.facts.map { Int32($0.rawValue) }), .int(Int64(size)),
            ])
        var lessons: [Lesson] = []
        var last = place
        for row in rows {
            let id = try row.uuid("blast_id")
            last = Place(
                blast: BlastID(high: id.high, low: id.low), fact: try row.int32("fact"),
                recipient: try row.int32("recipient_no"))
            guard let eventID = try row.optionalString("event_id"),
                let fact = UInt8(exactly: last.fact).flatMap(DeliveryFact.init(rawValue:))
            else { continue }
            lessons.append(
                Lesson(
                    delivery: DeliveryID(blast: last.blast, recipientNumber: last.recipient), fact: fact,
                    eventID: eventID, occurredAtMicroseconds: try row.timestampMicroseconds("occurred_at"),
                    evidence: try row.optionalString("evidence") ?? ""))
        }
        return Page(lessons: lessons, next: rows.count < size ? nil : last)
    }

    /// Rows of expired documents come without an event.
    private static let readPage = """
        WITH page AS MATERIALIZED (
            SELECT p.blast_id, p.fact, p.recipient_no FROM delivery_problem p
             WHERE p.blast_id >= $1 AND (p.blast_id, p.fact, p.recipient_no) > ($1, $2::smallint, $3)
               AND p.fact = ANY ($4::int[])
             ORDER BY p.blast_id, p.fact, p.recipient_no LIMIT $5
        )
        SELECT p.blast_id, p.fact, p.recipient_no, l.event_id, l.occurred_at, l.evidence
          FROM page p
          LEFT JOIN blast b ON b.blast_id = p.blast_id AND (b.expires_at IS NULL OR b.expires_at > now())
          LEFT JOIN LATERAL (
               WITH RECURSIVE chain AS (
                   SELECT l.part, l.prev_seq, l.fact, l.event_id, l.occurred_at, l.evidence
                     FROM delivery_status s
                     JOIN delivery_log l ON l.blast_id = s.blast_id AND l.part = s.part AND l.seq = s.last_seq
                    WHERE s.blast_id = b.blast_id AND s.recipient_no = p.recipient_no
                   UNION ALL
                   SELECT l.part, l.prev_seq, l.fact, l.event_id, l.occurred_at, l.evidence
                     FROM chain c
                     JOIN delivery_log l ON l.blast_id = p.blast_id AND l.part = c.part AND l.seq = c.prev_seq
                    WHERE c.fact IS DISTINCT FROM p.fact
               )
               SELECT c.event_id, c.occurred_at, c.evidence FROM chain c WHERE c.fact = p.fact LIMIT 1) l ON true
         ORDER BY p.blast_id, p.fact, p.recipient_no
        """
}
