import Delivery
import Postgres
import Runtime

/// Where the links of one blast lead, and what its readers may answer. Neither changes after sending has begun.
struct BlastLinks: Sendable {
    let destinations: [Int16: String]
    /// The answers to choose from (C-16), in their order.
    let answers: [String]
    /// The end of the document's life; nil while it is not known.
    let expiresAtMicroseconds: Int64?

    init(destinations: [Int16: String], answers: [String] = [], expiresAtMicroseconds: Int64? = nil) {
        self.destinations = destinations
        self.answers = answers
        self.expiresAtMicroseconds = expiresAtMicroseconds
    }

    /// Reads them; none for a blast that is unknown or expired. A destination that cannot stand in a header is left
    /// out.
    init(of blast: BlastID, in database: PostgresPool) async throws {
        let rows = try await database.query(
            """
            SELECT l.link_no, l.url, b.expires_at, b.answers FROM blast b LEFT JOIN blast_link l USING (blast_id)
             WHERE b.blast_id = $1 AND (b.expires_at IS NULL OR b.expires_at > now())
            """, [.uuid(blast)])
        var destinations: [Int16: String] = [:]
        for row in rows {
            guard let url = try row.optionalString("url") else { continue }
            if Destination.isUsable(url) { destinations[Int16(try row.int32("link_no"))] = url }
        }
        self.init(
            destinations: destinations, answers: try rows.first?.textArray("answers").compactMap(\.self) ?? [],
            expiresAtMicroseconds: try rows.first?.optionalTimestampMicroseconds("expires_at"))
    }

    /// A reader waits a quarter of a second; a query that takes longer must not hold a connection for long.
    static func impatient(_ configuration: PostgresConfiguration) -> PostgresConfiguration {
        var configuration = configuration
        configuration.connectTimeout = .seconds(1)
        configuration.statementTimeout = .seconds(2)
        return configuration
    }

    var octets: Int {
        destinations.values.reduce(256) { $0 + 64 + $1.utf8.count } + answers.reduce(0) { $0 + 32 + $1.utf8.count }
    }
}
