import Postgres
import TestKit
import Testing

@testable import rollcall

/// The audit finds what is off and nothing else.
@Suite(.timeLimit(.minutes(10))) struct `Audit` {
    static let blast = "01900000-0000-7000-8000-000000000001"

    /// A sent blast of four: one left out, one refused at the last check, two handed over.
    private static let inOrder = """
        SET search_path = rollcall;
        SELECT ensure_partitions('2024-06-10', '2024-06-12');
        INSERT INTO district (district_id, name) VALUES (1, 'North');
        INSERT INTO blast (blast_id, district_id, subject, text_template, from_address, in_doubt_policy, state, audience,
                           created_by, send_requested_at, sending_ended_at)
        VALUES ('\(blast)', 1, 's', 't', 'o@d.example', 'at_most_once', 'sent', 4, 'test', now(), now());
        INSERT INTO recipient (blast_id, recipient_no, district_id, line_no, address, address_hash)
        SELECT '\(blast)', no, 1, no + 1, no || '@x.example', sha256(no::text::bytea) FROM generate_series(1, 4) AS no;
        INSERT INTO delivery_status (blast_id, recipient_no, district_id, facts)
        SELECT '\(blast)', no, 1, CASE no WHEN 1 THEN 1025 WHEN 2 THEN 4097 ELSE 1048577 END
          FROM generate_series(1, 4) AS no;
        INSERT INTO blast_count (blast_id, part, facts, district_id, n)
        VALUES ('\(blast)', -1, 1, 1, 4), ('\(blast)', 0, 1, 1, -3), ('\(blast)', 1, 1, 1, -1),
               ('\(blast)', 0, 1025, 1, 1), ('\(blast)', 0, 4097, 1, 1), ('\(blast)', 0, 1048577, 1, 1),
               ('\(blast)', 1, 1048577, 1, 1);
        INSERT INTO chunk (blast_id, chunk_no, district_id, class, first_no, last_no, state)
        VALUES ('\(blast)', 1, 1, 'general', 1, 2, 'done'), ('\(blast)', 2, 1, 'general', 3, 4, 'done');
        INSERT INTO screened_chunk (blast_id, chunk_no, district_id, class, excluded)
        VALUES ('\(blast)', 1, 1, 'general', 1), ('\(blast)', 2, 1, 'general', 0);
        INSERT INTO decision (blast_id, recipient_no, district_id, chunk_no, fact, rule, detail)
        VALUES ('\(blast)', 1, 1, 1, 10, 'duplicate', 'd');
        INSERT INTO attempt (blast_id, recipient_no, attempt_no, district_id, chunk_no, state, address_hash)
        VALUES ('\(blast)', 2, 1, 1, 1, 'stopped', '\\x00'), ('\(blast)', 3, 1, 1, 2, 'accepted', '\\x00'),
               ('\(blast)', 4, 1, 1, 2, 'deferred', '\\x00'), ('\(blast)', 4, 2, 1, 2, 'accepted', '\\x00');
        """

    private static let disorders: [(sql: String, finding: String)] = [
        ("DELETE FROM recipient WHERE recipient_no = 2", "recipients missing from the list: 2"),
        ("DELETE FROM delivery_status WHERE recipient_no = 3", "recipients without a status: 3"),
        ("UPDATE blast_count SET n = n + 1 WHERE part = 0 AND facts = 1025", "sum of the counts: 5"),
        ("UPDATE blast_count SET n = n + 1 WHERE part = 0 AND facts = 1025", "1025: 2, 1"),
        ("UPDATE delivery_status SET facts = facts | (1::bigint << 30) WHERE recipient_no = 3", "facts whose counter"),
        ("UPDATE blast SET audience = 5", "status rows: 4"),
        ("UPDATE chunk SET last_no = 3 WHERE chunk_no = 1", "in no chunk or in several: 3"),
        ("UPDATE chunk SET state = 'cleared' WHERE chunk_no = 2", "chunks not finished although the blast is sent: 2"),
        ("DELETE FROM screened_chunk WHERE chunk_no = 2", "without having been screened: 2"),
        ("UPDATE screened_chunk SET excluded = 2 WHERE chunk_no = 1", "not that of their decisions: 1"),
        ("DELETE FROM attempt WHERE recipient_no = 2", "neither a decision nor an attempt: 2"),
        ("DELETE FROM attempt WHERE recipient_no = 4", "hand-over nobody made: 4"),
        ("UPDATE attempt SET state = 'wire' WHERE recipient_no = 3", "open attempt although the blast is sent: 3"),
        (
            """
            INSERT INTO attempt (blast_id, recipient_no, attempt_no, district_id, chunk_no, state, address_hash)
            VALUES ('\(blast)', 1, 1, 1, 1, 'accepted', '\\x00')
            """, "left out by a decision and yet handed over: 1"
        ),
    ]

    @Test func `a blast in order has no findings, and each disorder is found and named`() async throws {
        let database = try await LocalStack.shared().database("audit")
        let owner = PostgresConnection(database.owner, name: "owner")
        try await owner.connect()
        try await owner.execute(script: Self.inOrder)
        #expect(try await BlastAudit.run(Self.blast, on: owner).findings == [])
        for disorder in Self.disorders {
            let restore = try await Snapshot.take(owner)
            try await owner.execute(script: disorder.sql)
            let findings = try await BlastAudit.run(Self.blast, on: owner).findings
            #expect(findings.contains { $0.contains(disorder.finding) }, "\(disorder.sql): \(findings)")
            try await restore.apply(owner)
            #expect(try await BlastAudit.run(Self.blast, on: owner).findings == [], "restored after \(disorder.sql)")
        }
        await owner.close()
    }
}

/// The rows of a blast, to put back after each disorder.
private struct Snapshot {
    private static let tables = [
        "blast", "recipient", "delivery_status", "blast_count", "chunk", "screened_chunk", "decision", "attempt",
    ]

    static func take(_ owner: PostgresConnection) async throws -> Snapshot {
        for table in tables {
            try await owner.execute(
                script: "DROP TABLE IF EXISTS pg_temp.kept_\(table); "
                    + "CREATE TEMPORARY TABLE kept_\(table) AS SELECT * FROM rollcall.\(table)")
        }
        return Snapshot()
    }

    func apply(_ owner: PostgresConnection) async throws {
        let deletions = Self.tables.reversed().map { "DELETE FROM rollcall.\($0);" }.joined()
        var insertions = ""
        for table in Self.tables {
            let columns = try await owner.query(
                """
                SELECT string_agg(format('%I', attname), ', ') AS list FROM pg_attribute
                 WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
                """, [.text("rollcall.\(table)")])[0].string("list")
            insertions += "INSERT INTO rollcall.\(table) (\(columns)) SELECT \(columns) FROM pg_temp.kept_\(table);"
        }
        try await owner.execute(script: "BEGIN; \(deletions) \(insertions) COMMIT")
    }
}
