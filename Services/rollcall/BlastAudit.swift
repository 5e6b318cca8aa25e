import Postgres

/// Whether everything that the tables say about one blast fits together.
struct BlastAudit {
    let line: String
    let findings: [String]

    /// Reads one snapshot.
    static func run(_ blast: String, on connection: PostgresConnection) async throws -> BlastAudit {
        try await connection.begin()
        do {
            try await connection.execute(script: "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            let audit = try await read(blast, on: connection)
            try await connection.rollback()
            return audit
        } catch {
            try? await connection.rollback()
            throw error
        }
    }

    private static let totals = """
        SELECT b.state, b.audience, b.subject, b.cancelled_at IS NOT NULL AS is_cancelled,
               (SELECT count(*) FROM recipient WHERE blast_id = b.blast_id) AS recipients,
               (SELECT coalesce(max(recipient_no), 0) FROM recipient WHERE blast_id = b.blast_id) AS highest,
               (SELECT count(*) FROM delivery_status WHERE blast_id = b.blast_id) AS statuses,
               (SELECT coalesce(sum(n), 0) FROM blast_count WHERE blast_id = b.blast_id) AS counted
          FROM blast b WHERE b.blast_id = $1::text::uuid
        """

    private static func read(_ blast: String, on connection: PostgresConnection) async throws -> BlastAudit {
        guard let row = try await connection.query(totals, [.text(blast)]).first else {
            return BlastAudit(line: "\(blast): deleted meanwhile", findings: [])
        }
        let audience = try row.int("audience")
        let state = try row.string("state")
        var findings: [String] = []
        for (what, column) in [
            ("recipients", "recipients"), ("the highest recipient number", "highest"), ("status rows", "statuses"),
            ("the sum of the counts", "counted"),
        ] where try row.int(column) != audience {
            findings.append("audience is \(audience), \(what): \(try row.int(column))")
        }
        for check in checks where check.states.contains(state) {
            let rows = try await connection.query(check.sql, [.text(blast)])
            guard let first = rows.first, try first.int("n") > 0 else { continue }
            let examples = try first.textArray("examples").compactMap(\.self).joined(separator: ", ")
            findings.append("\(try first.int("n")) \(check.finding): \(examples)")
        }
        return BlastAudit(
            line: "\(blast) \(state), audience \(audience): " + (findings.isEmpty ? "in order" : "NOT IN ORDER"),
            findings: findings)
    }

    private struct Check {
        let finding: String
        let states: Set<String>
        /// Gives `n` and up to twenty `examples`.
        let sql: String

        /// - Parameter broken: a query of `blast` with one column `item`, a row for each thing that is off.
        init(_ finding: String, in states: Set<String> = ["draft", "sending", "sent"], _ broken: String) {
            self.finding = finding
            self.states = states
            sql = """
                WITH wanted AS (SELECT $1::text::uuid AS blast), broken AS (\(broken))
                SELECT (SELECT count(*) FROM broken) AS n,
                       ARRAY (SELECT item::text FROM broken ORDER BY item LIMIT 20) AS examples
                """
        }
    }

    private static let begun: Set<String> = ["sending", "sent"]

    private static let checks: [Check] = [
        Check(
            "recipients missing from the list",
            """
            SELECT no AS item FROM blast, wanted, generate_series(1, audience) AS no WHERE blast_id = blast
            EXCEPT SELECT recipient_no FROM recipient, wanted WHERE blast_id = blast
            """),
        Check(
            "recipients without a status",
            """
            SELECT recipient_no AS item FROM recipient, wanted WHERE blast_id = blast
            EXCEPT SELECT recipient_no FROM delivery_status, wanted WHERE blast_id = blast
            """),
        Check(
            "statuses without a recipient",
            """
            SELECT recipient_no AS item FROM delivery_status, wanted WHERE blast_id = blast
            EXCEPT SELECT recipient_no FROM recipient, wanted WHERE blast_id = blast
            """),
        Check(
            "sets of facts whose counter is not the number of their deliveries (set: counted, there)",
            """
            SELECT facts || ': ' || coalesce(counted, 0) || ', ' || coalesce(found, 0) AS item
              FROM (SELECT facts, sum(n) AS counted FROM blast_count, wanted WHERE blast_id = blast GROUP BY facts) c
              FULL JOIN (SELECT facts, count(*) AS found FROM delivery_status, wanted WHERE blast_id = blast
                          GROUP BY facts) s USING (facts)
             WHERE coalesce(counted, 0) <> coalesce(found, 0)
            """),
        Check(
            "recipients in no chunk or in several", in: begun,
            """
            SELECT recipient_no AS item FROM recipient r, wanted
             WHERE r.blast_id = blast
               AND 1 <> (SELECT count(*) FROM chunk c WHERE c.blast_id = blast
                          AND r.recipient_no BETWEEN c.first_no AND c.last_no)
            """),
        Check(
            "chunks cleared without having been screened", in: begun,
            """
            SELECT c.chunk_no AS item FROM chunk c, wanted
             WHERE c.blast_id = blast AND c.state <> 'requested'
               AND NOT EXISTS (SELECT FROM screened_chunk s WHERE s.blast_id = blast AND s.chunk_no = c.chunk_no)
            """),
        Check(
            "chunks whose number of excluded recipients is not that of their decisions", in: begun,
            """
            SELECT s.chunk_no AS item FROM screened_chunk s, wanted
             WHERE s.blast_id = blast
               AND s.excluded <> (SELECT count(*) FROM decision d WHERE d.blast_id = blast AND d.chunk_no = s.chunk_no)
            """),
        Check(
            "recipients of finished chunks with neither a decision nor an attempt", in: begun,
            """
            SELECT r.recipient_no AS item
              FROM wanted JOIN chunk c ON c.blast_id = blast AND c.state = 'done'
              JOIN recipient r ON r.blast_id = blast AND r.recipient_no BETWEEN c.first_no AND c.last_no
             WHERE NOT EXISTS (SELECT FROM decision d WHERE d.blast_id = blast AND d.recipient_no = r.recipient_no)
               AND NOT EXISTS (SELECT FROM attempt a WHERE a.blast_id = blast AND a.recipient_no = r.recipient_no)
            """),
        Check(
            "recipients left out by a decision and yet handed over", in: begun,
            """
            SELECT d.recipient_no AS item FROM wanted JOIN decision d ON d.blast_id = blast
             WHERE EXISTS (SELECT FROM attempt a WHERE a.blast_id = blast AND a.recipient_no = d.recipient_no
                              AND a.state NOT IN ('stopped', 'requeued'))
            """),
        Check(
            "deliveries that show a hand-over nobody made", in: begun,
            """
            SELECT s.recipient_no AS item FROM wanted JOIN delivery_status s ON s.blast_id = blast
             WHERE s.facts & (1 << 20) <> 0
               AND NOT EXISTS (SELECT FROM attempt a WHERE a.blast_id = blast AND a.recipient_no = s.recipient_no)
            """),
        Check(
            "chunks not finished although the blast is sent", in: ["sent"],
            "SELECT chunk_no AS item FROM chunk, wanted WHERE blast_id = blast AND state <> 'done'"),
        Check(
            "recipients with an open attempt although the blast is sent", in: ["sent"],
            """
            SELECT recipient_no AS item FROM attempt, wanted
             WHERE blast_id = blast AND (state IN ('wire', 'in_doubt') OR next_at IS NOT NULL)
            """),
    ]
}
