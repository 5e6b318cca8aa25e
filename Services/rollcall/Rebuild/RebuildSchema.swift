import Contracts
import Postgres

/// A second projection: a schema with the projector's tables, and the live tables as they were at the cut.
struct RebuildSchema {
    /// Everything that a projector writes.
    private static let tables = [
        "delivery_status", "delivery_log", "blast_count", "delivery_problem", "projector_partition", "projector_batch",
        "projector_incident", "late_event", "dead_letter",
    ]
    /// Columns of a delivery that events change; all others come with its row.
    private static let projectedColumns = [
        "facts", "part", "last_seq", "attempts", "last_attempt_at", "response", "response_at", "changed_at",
    ]

    let name: ProjectionName
    let connection: PostgresConnection

    var schema: String { name.schema }

    func exists() async throws -> Bool {
        try await connection.query("SELECT to_regnamespace($1) IS NOT NULL AS is_there", [.text(schema)])
            .first?.bool("is_there") ?? false
    }

    static func all(_ connection: PostgresConnection) async throws -> [RebuildSchema] {
        try await connection.query(
            """
            SELECT substr(nspname::text, 12) AS name FROM pg_namespace
             WHERE nspname LIKE 'projection\\_%' AND to_regclass(format('%I.rebuild_cut', nspname)) IS NOT NULL
             ORDER BY 1
            """
        ).compactMap { row in
            ProjectionName(try row.string("name")).map { RebuildSchema(name: $0, connection: connection) }
        }
    }

    /// Makes the tables, in one transaction whose snapshot is the cut: what the live projection had at its offsets.
    ///
    /// - Returns: what is to be projected, and the deliveries.
    func make() async throws -> (records: Int64, deliveries: Int64) {
        try await connection.begin()
        do {
            try await connection.execute(script: "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            try await refuseRestartedHistory()
            try await connection.execute(script: definitions)
            try await copyCut()
            let row = try await connection.query(
                """
                SELECT coalesce(sum(until_offset), 0)::bigint AS records,
                       (SELECT count(*) FROM \(schema).rebuild_status) AS deliveries FROM \(schema).rebuild_cut
                """
            ).first
            let made = (records: try row?.int("records") ?? 0, deliveries: try row?.int("deliveries") ?? 0)
            try await connection.commit()
            try await connection.execute(script: "ANALYZE \(schema).delivery_status")
            return made
        } catch {
            try? await connection.rollback()
            throw error
        }
    }

    func drop() async throws { try await connection.execute(script: "DROP SCHEMA \(schema) CASCADE") }

    private func refuseRestartedHistory() async throws {
        let parts = try await connection.query(
            """
            SELECT p.part, p.incarnation, i.reason, i.noticed_at FROM projector_partition p
              LEFT JOIN projector_incident i USING (projection, part, incarnation)
             WHERE p.projection = $1 AND p.topic = $2 ORDER BY p.part
            """, [.text(ProjectionName.live.text), .text(Topic.deliveryEvents.name)])
        guard !parts.isEmpty else {
            throw Failure("the live projection has no partition yet: there is nothing to rebuild")
        }
        for row in parts where try row.int("incarnation") > 1 {
            let at = try row.optionalTimestampMicroseconds("noticed_at").map(Timestamp.string(microseconds:))
            throw Failure(
                "the event history restarted (partition \(try row.int("part")): "
                    + "\(Terminal.plain(try row.optionalString("reason") ?? "unknown reason")), \(at ?? "unknown time")): "
                    + "what came before is no longer on the topic, so nothing can be rebuilt from offset 0")
        }
    }

    /// The live definitions, without partitions by day, tenants' policies and the live tables' rows.
    private var definitions: String {
        let copies = Self.tables.map { table in
            let storage = table == "delivery_status" ? " WITH (fillfactor = 60)" : ""
            return "CREATE TABLE \(schema).\(table) (LIKE rollcall.\(table) INCLUDING ALL)\(storage);"
        }
        return """
            CREATE SCHEMA \(schema);
            GRANT USAGE ON SCHEMA \(schema) TO rollcall_projector;
            \(copies.joined(separator: "\n"))
            CREATE TRIGGER facts_only_grow BEFORE UPDATE ON \(schema).delivery_status
                FOR EACH ROW WHEN (OLD.facts & ~NEW.facts <> 0) EXECUTE FUNCTION rollcall.refuse_lost_fact();
            ALTER TABLE \(schema).delivery_status ENABLE ALWAYS TRIGGER facts_only_grow;
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \(schema) TO rollcall_projector;
            CREATE TABLE \(schema).rebuild_cut (
                part smallint PRIMARY KEY, until_offset bigint NOT NULL, seq bigint NOT NULL,
                cut_at timestamptz NOT NULL DEFAULT clock_timestamp());
            CREATE TABLE \(schema).rebuild_status (LIKE rollcall.delivery_status INCLUDING INDEXES);
            CREATE TABLE \(schema).rebuild_count (LIKE rollcall.blast_count);
            CREATE TABLE \(schema).rebuild_problem (LIKE rollcall.delivery_problem);
            CREATE TABLE \(schema).rebuild_late (part smallint, record_offset bigint, PRIMARY KEY (part, record_offset));
            CREATE TABLE \(schema).rebuild_dead (part smallint, record_offset bigint, reason text NOT NULL,
                                                 PRIMARY KEY (part, record_offset));
            GRANT SELECT ON \(schema).rebuild_cut, \(schema).rebuild_late TO rollcall_projector;
            """
    }

    private func copyCut() async throws {
        let parts: [PostgresParameter] = [.text(ProjectionName.live.text), .text(Topic.deliveryEvents.name)]
        let own = parts + [.text(name.text), .int(Int64(Topic.deliveryEvents.partitions))]
        for sql in [
            // A partition that the live projection never owned counts as one where nothing was projected.
            """
            INSERT INTO \(schema).rebuild_cut (part, until_offset, seq)
            SELECT n, coalesce(p.next_offset, 0), coalesce(p.seq, 0)
              FROM generate_series(0, $4::int - 1) n
              LEFT JOIN projector_partition p ON p.projection = $1 AND p.topic = $2 AND p.part = n
             WHERE $3::text IS NOT NULL
            """,
            """
            INSERT INTO \(schema).projector_partition (projection, topic, part, cluster_id)
            SELECT $3, $2, c.part,
                   (SELECT max(cluster_id) FROM projector_partition WHERE projection = $1 AND topic = $2)
              FROM \(schema).rebuild_cut c WHERE c.part < $4
            """,
        ] { _ = try await connection.query(sql, own) }
        for sql in [
            """
            INSERT INTO \(schema).rebuild_late SELECT part, record_offset FROM late_event
             WHERE projection = $1 AND topic = $2
            """,
            """
            INSERT INTO \(schema).rebuild_dead SELECT part, record_offset, reason FROM dead_letter
             WHERE projection = $1 AND topic = $2
            """,
        ] { _ = try await connection.query(sql, parts) }
        let columns = try await connection.query(
            """
            SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum) AS list FROM pg_attribute
             WHERE attrelid = 'rollcall.delivery_status'::regclass AND attnum > 0 AND NOT attisdropped
               AND attname <> ALL ($1::text[])
            """, [.textArray(Self.projectedColumns)]
        ).first?.string("list")
        guard let columns else { throw Failure("the table of statuses has no columns") }
        try await connection.execute(
            script: """
                INSERT INTO \(schema).rebuild_status SELECT * FROM rollcall.delivery_status;
                INSERT INTO \(schema).rebuild_count SELECT * FROM rollcall.blast_count;
                INSERT INTO \(schema).rebuild_problem SELECT * FROM rollcall.delivery_problem;
                INSERT INTO \(schema).delivery_status (\(columns)) SELECT \(columns) FROM \(schema).rebuild_status;
                INSERT INTO \(schema).blast_count (blast_id, part, facts, district_id, n)
                SELECT blast_id, -1, 1, district_id, count(*) FROM \(schema).rebuild_status
                 GROUP BY blast_id, district_id;
                """)
    }
}
