import Delivery
import Postgres
import Runtime
import TestKit

/// The tables of many small histories in one database, as the rows that the reference writes.
struct HistoryTables: Sendable {
    let owner: PostgresPool

    struct Told: Hashable, Sendable {
        let seed: Int
        let order: Int
        var projection: String { "case-\(seed)-\(order)" }
    }

    /// Inserts the blasts of every order of every case, all recipients pending, and returns their ids.
    func insert(_ cases: [HistoryCase]) async throws -> [Told: [BlastID]] {
        let floor = try await owner.query("SELECT uuid_floor(clock_timestamp()) AS id").first?.uuid("id")
        guard let floor else { throw TestKitError("no clock") }
        var ids: [Told: [BlastID]] = [:]
        var blasts: [BlastID] = []
        var sizes: [Int32] = []
        var seeds: [Int64] = []
        var orders: [Int32] = []
        var indices: [Int32] = []
        for history in cases {
            for order in history.orders.indices {
                for (index, size) in history.blasts.enumerated() {
                    let id = BlastID(high: floor.high | 0x7000, low: 0x8000_0000_0000_0000 | UInt64(blasts.count))
                    ids[Told(seed: history.seed, order: order), default: []].append(id)
                    blasts.append(id)
                    sizes.append(size)
                    seeds.append(Int64(history.seed))
                    orders.append(Int32(order))
                    indices.append(Int32(index))
                }
            }
        }
        try await createFunctions()
        _ = try await owner.query("INSERT INTO district (district_id, name) VALUES (1, 'A'), (2, 'B')")
        _ = try await owner.query(
            "CREATE TABLE told (seed bigint, told int, blast int, blast_id uuid PRIMARY KEY, size int)")
        _ = try await owner.query(
            "INSERT INTO told SELECT * FROM unnest($1::bigint[], $2::int[], $3::int[], $4::uuid[], $5::int[])",
            [
                .int8Array(seeds), .int4Array(orders), .int4Array(indices), .uuidArray(blasts), .int4Array(sizes),
            ])
        _ = try await owner.query(
            """
            WITH b AS (INSERT INTO blast (blast_id, district_id, subject, text_template, from_address, in_doubt_policy,
                                          state, send_requested_at, audience, created_by)
                       SELECT blast_id, 1, 's', 't', 'a@b.example', 'at_most_once', 'sending', now(), size, 'test'
                         FROM told),
                 s AS (INSERT INTO delivery_status (blast_id, recipient_no, district_id)
                       SELECT blast_id, n, 1 FROM told, generate_series(1, size) n)
            INSERT INTO blast_count SELECT blast_id, -1, 1, 1, size FROM told
            """)
        return ids
    }

    /// Makes one blast that is there already known as order 0 of a case.
    func tell(_ history: HistoryCase, _ blast: BlastID) async throws {
        try await createFunctions()
        _ = try await owner.query(
            "CREATE TABLE told AS SELECT $1::bigint AS seed, 0 AS told, 0 AS blast, $2::uuid AS blast_id",
            [.int(Int64(history.seed)), .uuid(blast)])
    }

    /// The hash of the state and of the log of every history told, computed by PostgreSQL.
    func hashes() async throws -> [Told: (state: String, log: String)] {
        var hashes: [Told: (state: String, log: String)] = [:]
        let rows = try await owner.query(
            Self.rows + """
                 , hashed AS (
                    SELECT seed, told, kind IN ('log', 'late', 'dead', 'fence') AS is_log,
                           encode(sha256(convert_to(string_agg(r, E'\\n' ORDER BY r COLLATE "C"), 'UTF8')), 'hex') AS h
                      FROM rows GROUP BY 1, 2, 3)
                SELECT seed, told, max(h) FILTER (WHERE NOT is_log) AS state, max(h) FILTER (WHERE is_log) AS log
                  FROM hashed GROUP BY 1, 2
                """)
        for row in rows {
            hashes[Told(seed: Int(try row.int("seed")), order: Int(try row.int("told")))] = (
                try row.string("state"), try row.optionalString("log") ?? ""
            )
        }
        return hashes
    }

    func rows(of told: Told) async throws -> [String] {
        try await owner.query(
            Self.rows + " SELECT r FROM rows WHERE seed = $1 AND told = $2 ORDER BY r COLLATE \"C\"",
            [.int(Int64(told.seed)), .int(Int64(told.order))]
        ).map { try $0.string("r") }
    }

    /// What must hold whatever was told, with the number of rows that break it.
    func violations() async throws -> [String: Int64] {
        var found: [String: Int64] = [:]
        for (promise, sql) in Self.promises {
            let count = try await owner.query("SELECT count(*) AS n FROM (\(sql)) broken").first?.int("n") ?? -1
            if count != 0 { found[promise] = count }
        }
        return found
    }

    static let promises: [String: String] = [
        "a timeline is a chain from its newest record to its first": """
        SELECT FROM (SELECT prev_seq, lag(seq) OVER w AS before FROM delivery_log
                     WINDOW w AS (PARTITION BY blast_id, recipient_no ORDER BY seq)) l
         WHERE prev_seq IS DISTINCT FROM before
        """,
        "a row is what its newest record says": """
        SELECT FROM delivery_status s FULL JOIN
             (SELECT DISTINCT ON (blast_id, recipient_no) * FROM delivery_log
               ORDER BY blast_id, recipient_no, seq DESC) l
             USING (blast_id, recipient_no)
         WHERE (s.last_seq, s.attempts, s.last_attempt_at, s.response, s.changed_at, s.part)
               IS DISTINCT FROM (l.seq, coalesce(l.attempts, 0), l.last_attempt_at, l.response, l.changed_at, l.part)
            OR s.facts IS DISTINCT FROM coalesce(l.facts, 1)
        """,
        "a record adds exactly the fact it names": """
        SELECT FROM (SELECT fact, facts, lag(facts, 1, 1::bigint) OVER w AS before FROM delivery_log
                     WINDOW w AS (PARTITION BY blast_id, recipient_no ORDER BY seq)) l
         WHERE facts <> before | coalesce(1::bigint << fact::int, 0) OR (fact IS NULL) <> (facts = before)
        """,
        "counters are the rows": """
        SELECT FROM (SELECT blast_id, facts, count(*) AS n FROM delivery_status GROUP BY 1, 2) s
          FULL JOIN (SELECT blast_id, facts, sum(n) AS n FROM blast_count GROUP BY 1, 2 HAVING sum(n) <> 0) c
              USING (blast_id, facts) WHERE s.n IS DISTINCT FROM c.n
        """,
        "counters sum to the audience": """
        SELECT FROM blast LEFT JOIN (SELECT blast_id, sum(n) AS n FROM blast_count GROUP BY 1) c USING (blast_id)
         WHERE c.n IS DISTINCT FROM audience
        """,
        "problems are those of the rows": """
        SELECT FROM delivery_problem p FULL JOIN
             (SELECT blast_id, recipient_no, fact FROM delivery_log
               WHERE fact IN (6, 11, 12, 13, 14, 18, 19, 24, 25, 26, 27, 42, 44)) l
             USING (blast_id, recipient_no, fact) WHERE p.district_id IS NULL OR l.blast_id IS NULL
        """,
    ]

    private static let rows = """
        WITH rows AS (
            SELECT seed, told, 'delivery' AS kind,
                   concat_ws('|', 'delivery', blast, recipient_no, facts, attempts, us(last_attempt_at), x(response),
                             us(response_at)) AS r
              FROM told JOIN delivery_status USING (blast_id)
            UNION ALL
            SELECT seed, told, 'count', concat_ws('|', 'count', blast, facts, sum(n))
              FROM told JOIN blast_count USING (blast_id) GROUP BY seed, told, blast, facts HAVING sum(n) <> 0
            UNION ALL
            SELECT seed, told, 'problem', concat_ws('|', 'problem', blast, fact, recipient_no)
              FROM told JOIN delivery_problem USING (blast_id)
            UNION ALL
            SELECT seed, told, 'log',
                   concat_ws('|', 'log', seq, coalesce(prev_seq::text, ''), blast, recipient_no, event_id, source,
                             coalesce(fact::text, ''), facts, attempts, us(last_attempt_at), x(response),
                             us(changed_at), us(occurred_at), us(recorded_at), x(evidence))
              FROM told JOIN delivery_log USING (blast_id)
            UNION ALL
            SELECT seed, told, 'late', concat_ws('|', 'late', record_offset, event_id, fact)
              FROM late_event l JOIN (SELECT DISTINCT seed, told FROM told) t
                ON projection = format('case-%s-%s', seed, told)
            UNION ALL
            SELECT seed, told, 'dead', concat_ws('|', 'dead', record_offset)
              FROM dead_letter JOIN (SELECT DISTINCT seed, told FROM told) t
                ON projection = format('case-%s-%s', seed, told)
            UNION ALL
            SELECT seed, told, 'fence', concat_ws('|', 'fence', next_offset, seq)
              FROM projector_partition JOIN (SELECT DISTINCT seed, told FROM told) t
                ON projection = format('case-%s-%s', seed, told)
        )
        """

    /// How the reference writes times and texts: nothing for null.
    private func createFunctions() async throws {
        _ = try await owner.query(
            """
            CREATE FUNCTION us(at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS
                $$ SELECT coalesce((extract(epoch FROM at) * 1000000)::bigint::text, '') $$
            """)
        _ = try await owner.query(
            """
            CREATE FUNCTION x(t text) RETURNS text LANGUAGE sql IMMUTABLE AS
                $$ SELECT coalesce('x' || encode(convert_to(t, 'UTF8'), 'hex'), '') $$
            """)
    }
}
