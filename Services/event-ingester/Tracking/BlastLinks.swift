import Delivery
import Postgres
import Runtime

/// The tracked links of one blast. They never change after sending has begun.
struct BlastLinks: Sendable {
    let destinations: [Int16: String]
    /// The end of the document's life; nil while it is not known.
    let expiresAtMicroseconds: Int64?

    init(destinations: [Int16: String], expiresAtMicroseconds: Int64? = nil) {
        self.destinations = destinations
        self.expiresAtMicroseconds = expiresAtMicroseconds
    }

    /// Reads them; none for a blast that is unknown or expired. A destination that cannot stand in a header is left
    /// out.
    init(of blast: BlastID, in database: PostgresPool) async throws {
        let rows = try await database.query(
            """
            SELECT l.link_no, l.url, b.expires_at FROM blast_link l JOIN blast b ON b.blast_id = l.blast_id
             WHERE l.blast_id = $1 AND (b.expires_at IS NULL OR b.expires_at > now())
            """, [.uuid(blast)])
        var destinations: [Int16: String] = [:]
        for row in rows {
            let url = try row.string("url")
            if Destination.isUsable(url) { destinations[Int16(try row.int32("link_no"))] = url }
        }
        self.init(
            destinations: destinations,
            expiresAtMicroseconds: try rows.first?.optionalTimestampMicroseconds("expires_at"))
    }

    /// A reader waits a quarter of a second; a query that takes longer must not hold a connection for long.
    static func impatient(_ configuration: PostgresConfiguration) -> PostgresConfiguration {
        var configuration = configuration
        configuration.connectTimeout = .seconds(1)
        configuration.statementTimeout = .seconds(2)
        return configuration
    }

    var octets: Int { destinations.values.reduce(256) { $0 + 64 + $1.utf8.count } }
}
