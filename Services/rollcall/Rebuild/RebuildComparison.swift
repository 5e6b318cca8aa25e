import Postgres

/// The second projection against the live tables as they were at the cut, by hash, and where they differ by name.
struct RebuildComparison {
    let schema: RebuildSchema
    let limit: Int

    struct Finding: Sendable {
        let name: String
        let rows: (live: Int64, rebuilt: Int64)
        let hashes: (live: String, rebuilt: String)
        let differing: Int64
        let differences: [String]

        var isEqual: Bool { hashes.live == hashes.rebuilt }
    }

    /// Two sets of rows that have to be the same: `blast`, `item`, and the rest of the row as a JSON object.
    private struct Section {
        let name: String
        let live: String
        let rebuilt: String
    }

    /// Events of deliveries that were there when the live projection met them and whose rows are gone. Without them the
    /// sequence numbers of a partition cannot be the same.
    func eventsWithoutRow() async throws -> Int64 {
        try await schema.connection.query(
            "SELECT count(*) AS n FROM \(schema.schema).late_event"
        ).first?.int("n") ?? 0
    }

    /// - Parameter withOrder: also compare sequence numbers and the log.
    func run(withOrder: Bool) async throws -> [Finding] {
        var findings: [Finding] = []
        for section in sections(withOrder) { findings.append(try await compare(section)) }
        return findings
    }

    private func sections(_ withOrder: Bool) -> [Section] {
        let s = schema.schema
        let left = withOrder ? "" : " - 'last_seq' - 'part'"
        var sections = [
            Section(
                name: "deliveries", live: Self.delivery("\(s).rebuild_status", left),
                rebuilt: Self.delivery("\(s).delivery_status", left)),
            Section(
                name: "counters", live: Self.counters("\(s).rebuild_count"), rebuilt: Self.counters("\(s).blast_count")
            ),
            Section(
                name: "problems", live: Self.problems("\(s).rebuild_problem"),
                rebuilt: Self.problems("\(s).delivery_problem")),
            Section(
                name: "unreadable records", live: Self.dead("\(s).rebuild_dead"), rebuilt: Self.dead("\(s).dead_letter")
            ),
        ]
        if withOrder {
            sections.append(
                Section(
                    name: "history",
                    live: Self.log(
                        "rollcall.delivery_log l JOIN \(s).rebuild_cut c ON c.part = l.part AND l.seq <= c.seq"),
                    rebuilt: Self.log("\(s).delivery_log l")))
        }
        return sections
    }

    private static func delivery(_ table: String, _ left: String) -> String {
        """
        SELECT blast_id::text AS blast, blast_id || '/' || recipient_no AS item, to_jsonb(t)\(left) AS content
          FROM \(table) t
        """
    }

    private static func counters(_ table: String) -> String {
        """
        SELECT blast_id::text AS blast, blast_id || ' facts ' || facts AS item, jsonb_build_object('n', sum(n)) AS content
          FROM \(table) GROUP BY blast_id, facts HAVING sum(n) <> 0
        """
    }

    private static func problems(_ table: String) -> String {
        """
        SELECT blast_id::text AS blast, blast_id || '/' || recipient_no || ' fact ' || fact AS item,
               jsonb_build_object('district_id', district_id) AS content FROM \(table)
        """
    }

    private static func dead(_ table: String) -> String {
        """
        SELECT part::text AS blast, 'partition ' || part || ' offset ' || record_offset AS item,
               jsonb_build_object('reason', reason) AS content FROM \(table)
        """
    }

    private static func log(_ table: String) -> String {
        """
        SELECT l.blast_id::text AS blast,
               l.blast_id || '/' || l.recipient_no || ' partition ' || l.part || ' seq ' || l.seq AS item,
               to_jsonb(l) AS content FROM \(table)
        """
    }

    private func compare(_ section: Section) async throws -> Finding {
        let live = try await hash(section.live)
        let rebuilt = try await hash(section.rebuilt)
        guard live.hash != rebuilt.hash else {
            return Finding(
                name: section.name, rows: (live.rows, rebuilt.rows), hashes: (live.hash, rebuilt.hash), differing: 0,
                differences: [])
        }
        let rows = try await schema.connection.query(
            """
            WITH differing AS (
                SELECT item, a.content AS live, b.content AS rebuilt
                  FROM (\(section.live)) a FULL JOIN (\(section.rebuilt)) b USING (item)
                 WHERE a.content IS DISTINCT FROM b.content)
            SELECT item, live IS NULL AS is_new, rebuilt IS NULL AS is_missing, count(*) OVER () AS n,
                   (SELECT string_agg(format('%s %s live, %s rebuilt', key, coalesce(x.value, 'none'),
                                             coalesce(y.value, 'none')), '; ' ORDER BY key)
                      FROM jsonb_each_text(live) x FULL JOIN jsonb_each_text(rebuilt) y USING (key)
                     WHERE x.value IS DISTINCT FROM y.value) AS what
              FROM differing ORDER BY item LIMIT $1
            """, [.int(Int64(limit))])
        return Finding(
            name: section.name, rows: (live.rows, rebuilt.rows), hashes: (live.hash, rebuilt.hash),
            differing: try rows.first?.int("n") ?? 0,
            differences: try rows.map { row in
                let item = try row.string("item")
                if try row.bool("is_new") { return "\(item): only rebuilt" }
                if try row.bool("is_missing") { return "\(item): only live" }
                return "\(item): \(try row.optionalString("what") ?? "")"
            })
    }

    /// By blast and then over the blasts, so that no text of all rows is ever in memory.
    private func hash(_ rows: String) async throws -> (hash: String, rows: Int64) {
        let row = try await schema.connection.query(
            """
            SELECT encode(sha256(coalesce(string_agg(hash, ''::bytea ORDER BY blast), '')), 'hex') AS hash,
                   coalesce(sum(n), 0)::bigint AS n
              FROM (SELECT blast, count(*) AS n,
                           sha256(string_agg(sha256(convert_to(item || ' ' || content::text, 'UTF8')), ''::bytea
                                             ORDER BY item)) AS hash
                      FROM (\(rows)) r GROUP BY blast) per_blast
            """
        ).first
        return (try row?.string("hash") ?? "", try row?.int("n") ?? 0)
    }
}
