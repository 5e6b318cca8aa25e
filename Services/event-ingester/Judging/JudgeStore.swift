import Contracts
import Delivery
import Postgres
import Runtime

/// The judge's SQL. Any number of ingesters may judge at once: a delivery is locked for the transaction that judges it,
/// and one that another ingester holds is passed over.
struct JudgeStore: Sendable {
    static let hitsMax = 500
    private static let deliveriesMax = 200
    /// A delivery that is touched again and again is judged after this long all the same.
    private static let patienceMicroseconds: Int64 = 60_000_000

    let database: PostgresPool
    let quietWindow: Duration

    private struct StoredHit {
        let id: (high: UInt64, low: UInt64)
        let storedAtMicroseconds: Int64
        let observation: HitJudge.Observation
    }

    private struct Verdict {
        let blast: BlastID
        let hit: (high: UInt64, low: UInt64)
        let fact: DeliveryFact
        let isEvent: Bool
    }

    /// Judges deliveries whose newest hit is older than the quiet window. The first hit of each fact is left for
    /// `publish`; later ones are done with.
    ///
    /// - Returns: what was judged, and whether there may be more.
    func judge() async throws -> (facts: [DeliveryFact], mayBeMore: Bool) {
        let windowMicroseconds = Int64(quietWindow / .microseconds(1))
        return try await database.withTransaction { connection in
            let picked = try await connection.query(
                Self.pickSQL, [.int(windowMicroseconds), .int(Int64(Self.hitsMax)), .int(Int64(Self.deliveriesMax))])
            let deliveries = try picked.map(Self.delivery)
            guard !deliveries.isEmpty else { return ([], false) }
            let verdicts = try await verdicts(on: deliveries, connection)
            guard !verdicts.isEmpty else { return ([], false) }
            _ = try await connection.query(
                Self.writeSQL,
                [
                    .uuidArray(verdicts.map(\.blast)), .uuidArray(verdicts.map(\.hit)),
                    .int4Array(verdicts.map { Int32($0.fact.rawValue) }), .boolArray(verdicts.map(\.isEvent)),
                ])
            return (verdicts.map(\.fact), verdicts.count >= Self.hitsMax / 2)
        }
    }

    private func verdicts(on deliveries: [DeliveryID], _ connection: PostgresConnection) async throws -> [Verdict] {
        let keys: [PostgresParameter] = [
            .uuidArray(deliveries.map(\.blast)), .int4Array(deliveries.map(\.recipientNumber)),
        ]
        var hits: [DeliveryID: [StoredHit]] = [:]
        var now: Int64 = 0
        for row in try await connection.query(Self.hitsSQL, keys) {
            now = try row.timestampMicroseconds("now")
            hits[try Self.delivery(row), default: []].append(try Self.hit(row))
        }
        var known: [DeliveryID: DeliveryFacts] = [:]
        for row in try await connection.query(Self.knownSQL, keys) {
            known[try Self.delivery(row)] = DeliveryFacts(bits: try row.int("facts"))
        }
        var linkCounts: [BlastID: Int] = [:]
        for row in try await connection.query(
            "SELECT blast_id, count(*) AS n FROM blast_link WHERE blast_id = ANY ($1) GROUP BY blast_id",
            [.uuidArray(Array(Set(deliveries.map(\.blast))))])
        {
            linkCounts[try row.blastID("blast_id")] = Int(try row.int("n"))
        }
        return hits.flatMap { delivery, hits -> [Verdict] in
            guard isQuiet(hits, now) else { return [] }
            let facts = HitJudge.facts(
                of: hits.map(\.observation), linkCount: linkCounts[delivery.blast] ?? 0, quietWindow: quietWindow)
            var said = known[delivery] ?? DeliveryFacts(bits: 0)
            return zip(hits, facts).map { hit, fact in
                defer { said = said.union(fact) }
                return Verdict(blast: delivery.blast, hit: hit.id, fact: fact, isEvent: !said.contains(fact))
            }
        }
    }

    /// Quiet by the time of the hits and by the time they arrived here: several ingesters write, each in its own time.
    private func isQuiet(_ hits: [StoredHit], _ now: Int64) -> Bool {
        let limit = now - Int64(quietWindow / .microseconds(1))
        if hits.contains(where: { $0.storedAtMicroseconds < now - Self.patienceMicroseconds }) { return true }
        return hits.allSatisfy { max($0.storedAtMicroseconds, $0.observation.atMicroseconds) <= limit }
    }

    /// Publishes judged hits that are not reported yet, and marks them once `send` has returned. They are held
    /// meanwhile, so that several ingesters share the work; `send` ends within ``EventPublisher/patience``.
    ///
    /// - Returns: how many.
    func publish(_ send: @Sendable ([DeliveryEvent]) async throws -> Void) async throws -> Int {
        try await database.withTransaction { connection in
            let rows = try await connection.query(Self.unreportedSQL, [.int(Int64(Self.hitsMax))])
            guard !rows.isEmpty else { return 0 }
            try await send(try rows.map(Self.event))
            _ = try await connection.query(
                """
                UPDATE tracking_hit h SET reported_at = clock_timestamp()
                  FROM unnest($1::uuid[], $2::uuid[]) AS e(blast_id, hit_id)
                 WHERE h.blast_id = e.blast_id AND h.hit_id = e.hit_id
                """,
                [
                    .uuidArray(try rows.map { try $0.blastID("blast_id") }),
                    .uuidArray(try rows.map { try $0.uuid("hit_id") }),
                ])
            return rows.count
        }
    }

    // MARK: Rows

    private static func delivery(_ row: PostgresRow) throws -> DeliveryID {
        DeliveryID(blast: try row.blastID("blast_id"), recipientNumber: try row.int32("recipient_no"))
    }

    private static func hit(_ row: PostgresRow) throws -> StoredHit {
        StoredHit(
            id: try row.uuid("hit_id"), storedAtMicroseconds: try row.timestampMicroseconds("stored_at"),
            observation: HitJudge.Observation(
                kind: try row.string("kind") == Hit.Kind.click.rawValue ? .click : .open,
                link: try row.optionalInt32("link_no").map(Int16.init),
                atMicroseconds: try row.timestampMicroseconds("at"), method: try row.string("method"),
                userAgent: try row.optionalString("user_agent")))
    }

    private static func event(_ row: PostgresRow) throws -> DeliveryEvent {
        let number = try row.int("fact")
        guard let fact = UInt8(exactly: number).flatMap(DeliveryFact.init(rawValue:)) else {
            throw PostgresError(.decoding, message: "a judged hit has the unknown fact \(number)")
        }
        let evidence =
            if let url = try row.optionalString("url") {
                Destination.evidence(url)
            } else {
                PlainText.line(PlainText.withoutAddresses(try row.optionalString("user_agent") ?? ""), octets: 200)
            }
        return DeliveryEvent(
            id: "hit/\(try row.blastID("hit_id"))/\(fact.name)", source: "/rollcall/event-ingester",
            delivery: try delivery(row), district: DistrictID(try row.int("district_id")), fact: fact,
            occurredAtMicroseconds: try row.timestampMicroseconds("at"), evidence: evidence)
    }
}

extension JudgeStore {
    /// Deliveries with the oldest unjudged hits, each locked for this transaction.
    private static let pickSQL = """
        WITH old AS MATERIALIZED (
            SELECT blast_id, recipient_no
              FROM (SELECT blast_id, recipient_no FROM tracking_hit
                     WHERE fact IS NULL AND stored_at <= now() - $1 * interval '1 microsecond'
                     ORDER BY stored_at LIMIT $2) h
             GROUP BY blast_id, recipient_no LIMIT $3
        )
        SELECT blast_id, recipient_no FROM old
         WHERE pg_try_advisory_xact_lock(
                   hashtextextended('rollcall.judge/' || blast_id::text || '/' || recipient_no::text, 0))
        """

    private static let hitsSQL = """
        SELECT h.blast_id, h.recipient_no, h.hit_id, h.kind, h.link_no, h.at, h.stored_at, h.method, h.user_agent, now()
          FROM unnest($1::uuid[], $2::int[]) AS e(blast_id, recipient_no)
          JOIN tracking_hit h ON h.blast_id = e.blast_id AND h.recipient_no = e.recipient_no
         WHERE h.fact IS NULL
         ORDER BY h.at, h.hit_id
           FOR UPDATE OF h
        """

    private static let knownSQL = """
        SELECT h.blast_id, h.recipient_no, bit_or(1::bigint << h.fact) AS facts
          FROM unnest($1::uuid[], $2::int[]) AS e(blast_id, recipient_no)
          JOIN tracking_hit h ON h.blast_id = e.blast_id AND h.recipient_no = e.recipient_no
         WHERE h.fact IS NOT NULL
         GROUP BY h.blast_id, h.recipient_no
        """

    private static let writeSQL = """
        UPDATE tracking_hit h
           SET fact = e.fact, reported_at = CASE WHEN e.is_event THEN NULL ELSE clock_timestamp() END
          FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::boolean[]) AS e(blast_id, hit_id, fact, is_event)
         WHERE h.blast_id = e.blast_id AND h.hit_id = e.hit_id
        """

    private static let unreportedSQL = """
        SELECT h.blast_id, h.recipient_no, h.hit_id, h.district_id, h.fact, h.at, h.user_agent, l.url
          FROM tracking_hit h LEFT JOIN blast_link l ON l.blast_id = h.blast_id AND l.link_no = h.link_no
         WHERE h.fact IS NOT NULL AND h.reported_at IS NULL
         ORDER BY h.stored_at LIMIT $1
           FOR UPDATE OF h SKIP LOCKED
        """
}
