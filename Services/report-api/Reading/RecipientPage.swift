import Delivery
import Postgres
import Runtime

/// One recipient and where its delivery stands.
struct RecipientRow: Sendable {
    let number: Int32
    let name: String?
    let address: String
    let personRef: String?
    let school: String?
    var facts: DeliveryFacts
    var attempts: Int32
    var lastAttemptAt: Int64?
    var response: String?
    var changedAt: Int64?
    /// What was wrong in the list.
    let fault: String?
    /// Why: the decision's words, else what the newest record says, else what was wrong in the list.
    var cause: String?

    /// Whether the message was ever handed to a mail server for this recipient.
    var isAttempted: Bool {
        attempts > 0
            || facts.intersects(DeliveryFacts.acceptanceEvidenceMask.union(DeliveryFacts(.inDoubt, .unknown)))
    }

    static let columns = """
        r.recipient_no, r.name, r.address, r.person_ref, r.school, s.facts, s.attempts, s.last_attempt_at, s.response,
        s.changed_at, r.fault_reason, coalesce(d.detail, l.evidence, r.fault_reason) AS cause
        """

    /// Joins to `s`, a row of `delivery_status` of the blast `$1`.
    static let joins = """
        JOIN recipient r ON r.blast_id = $1 AND r.recipient_no = s.recipient_no
        LEFT JOIN decision d ON d.blast_id = $1 AND d.recipient_no = s.recipient_no
        LEFT JOIN delivery_log l ON l.blast_id = $1 AND l.part = s.part AND l.seq = s.last_seq
        """

    init(_ row: PostgresRow) throws {
        number = try row.int32("recipient_no")
        name = try row.optionalString("name")
        address = try row.string("address")
        personRef = try row.optionalString("person_ref")
        school = try row.optionalString("school")
        facts = DeliveryFacts(bits: try row.int("facts"))
        attempts = try row.int32("attempts")
        lastAttemptAt = try row.optionalTimestampMicroseconds("last_attempt_at")
        response = try row.optionalString("response")
        changedAt = try row.optionalTimestampMicroseconds("changed_at")
        fault = try row.optionalString("fault_reason")
        cause = try row.optionalString("cause")
    }
}

/// What a list of recipients is asked for.
struct RecipientQuery: Sendable {
    var filter: StatusFilter?
    /// Text that stands in the name, the address or the person's reference; letter case does not matter.
    var text: String?
    var after: Int32 = 0
    var limit = 50

    struct Page: Sendable {
        let rows: [RecipientRow]
        /// The last row's number when more rows follow.
        let next: Int32?
    }

    /// Runs inside the transaction that read `document`, so that its counters say which sets of facts exist.
    func run(_ document: BlastDocument, on connection: PostgresConnection) async throws -> Page {
        var sets: [Int64]?
        var recorded: DeliveryFacts?
        if let filter {
            let matching = document.counts.entries.filter { $0.n > 0 && filter.matches($0.facts) }
            guard !matching.isEmpty else { return Page(rows: [], next: nil) }
            sets = matching.map(\.facts.bits)
            // Walking the list is cheaper once every twentieth row matches.
            let expected = matching.reduce(0) { $0 + $1.n }
            if expected * 20 < document.counts.total { recorded = filter.recordedFacts }
        }
        var parameters: [PostgresParameter] = [
            .uuid(document.id), .int4(after), .int(Int64(limit + 1)),
        ]
        var conditions = ""
        if let sets {
            parameters.append(.int8Array(sets))
            conditions += " AND s.facts = ANY ($\(parameters.count))"
        }
        let statement: String
        if let text, !text.isEmpty {
            parameters.append(.text(Self.pattern(containing: text)))
            let pattern = "$\(parameters.count)"
            statement = Self.searching(conditions, pattern)
        } else if let recorded {
            parameters.append(.int8Array(recorded.facts.map { Int64($0.rawValue) }))
            statement = Self.recorded(conditions, "$\(parameters.count)")
        } else {
            statement = Self.walking(conditions)
        }
        let rows = try await connection.query(statement, parameters).map(RecipientRow.init)
        let page = Array(rows.prefix(limit))
        return Page(rows: page, next: rows.count > limit ? page.last?.number : nil)
    }

    /// A LIKE pattern in which nothing of `text` is a wildcard.
    static func pattern(containing text: String) -> String {
        var pattern = "%"
        for scalar in text.unicodeScalars {
            if scalar == "\\" || scalar == "%" || scalar == "_" { pattern += "\\" }
            pattern.unicodeScalars.append(scalar)
        }
        return pattern + "%"
    }

    private static func walking(_ conditions: String) -> String {
        outer(
            """
            SELECT s.* FROM delivery_status s
             WHERE s.blast_id = $1 AND s.recipient_no > $2\(conditions)
             ORDER BY s.recipient_no LIMIT $3
            """)
    }

    private static func recorded(_ conditions: String, _ facts: String) -> String {
        outer(
            """
            SELECT s.* FROM (SELECT DISTINCT recipient_no FROM delivery_problem
                              WHERE blast_id = $1 AND fact = ANY (\(facts)) AND recipient_no > $2) p
              JOIN delivery_status s ON s.blast_id = $1 AND s.recipient_no = p.recipient_no\(conditions)
             ORDER BY s.recipient_no LIMIT $3
            """)
    }

    private static func searching(_ conditions: String, _ pattern: String) -> String {
        outer(
            """
            SELECT s.* FROM recipient f
              JOIN delivery_status s ON s.blast_id = $1 AND s.recipient_no = f.recipient_no\(conditions)
             WHERE f.blast_id = $1 AND f.recipient_no > $2
               AND (f.name ILIKE \(pattern) OR f.address ILIKE \(pattern) OR f.person_ref ILIKE \(pattern))
             ORDER BY f.recipient_no LIMIT $3
            """)
    }

    private static func outer(_ inner: String) -> String {
        "SELECT \(RecipientRow.columns) FROM (\(inner)) s \(RecipientRow.joins) ORDER BY s.recipient_no"
    }
}
