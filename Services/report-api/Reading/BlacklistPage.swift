import Postgres

/// An address that receives no blasts.
struct BlacklistEntry: Sendable {
    let address: String
    let reason: String
    let isActive: Bool
    let causes: Int32
    let firstSeen: Int64
    let lastSeen: Int64
    let evidence: String?
    let resetAt: Int64?
    let resetBy: String?
    let resetReason: String?
}

/// A district's blacklist in the order of the addresses.
struct BlacklistQuery: Sendable {
    var text: String?
    var includesReset = false
    var after = ""
    var limit = 50

    struct Page: Sendable {
        let entries: [BlacklistEntry]
        let next: String?
    }

    func run(on connection: PostgresConnection) async throws -> Page {
        let pattern = text.flatMap { $0.isEmpty ? nil : RecipientQuery.pattern(containing: $0) }
        let entries = try await connection.query(
            Self.statement, [.text(after), .text(pattern), .bool(includesReset), .int(Int64(limit + 1))]
        ).map { row in
            BlacklistEntry(
                address: try row.string("address"), reason: try row.string("reason"), isActive: try row.bool("active"),
                causes: try row.int32("causes"), firstSeen: try row.timestampMicroseconds("first_seen"),
                lastSeen: try row.timestampMicroseconds("last_seen"), evidence: try row.optionalString("evidence"),
                resetAt: try row.optionalTimestampMicroseconds("reset_at"),
                resetBy: try row.optionalString("reset_by"), resetReason: try row.optionalString("reset_reason"))
        }
        let page = Array(entries.prefix(limit))
        return Page(entries: page, next: entries.count > limit ? page.last?.address : nil)
    }

    /// Two entries never share an address: its hash is the key.
    private static let statement = """
        SELECT b.address, b.reason, b.active, b.causes, b.first_seen, b.last_seen, b.reset_at, b.reset_by,
               b.reset_reason, c.evidence
          FROM blacklist b
          LEFT JOIN LATERAL (
               SELECT evidence FROM blacklist_cause c
                WHERE c.district_id = b.district_id AND c.address_hash = b.address_hash
                ORDER BY occurred_at DESC LIMIT 1) c ON true
         WHERE b.district_id = current_district() AND b.address COLLATE "C" > $1
           AND ($2::text IS NULL OR b.address ILIKE $2) AND (b.active OR $3)
         ORDER BY b.address COLLATE "C" LIMIT $4
        """
}
