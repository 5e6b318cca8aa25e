import Delivery
import Postgres
import Runtime

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
/// What sending a blast will mean, before it is sent.
struct BlastSummary: Encodable, Sendable {
    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    struct Field: Encodable, Sendable {
        let name: String
        /// False: no column of the list has it, and the blast cannot be sent.
        let on_list: Bool
        /// Usable recipients for whom it is empty.
        let empty: Int64
    }

    let blast_id: String
    let state: String
    let `class`: String
    let from: BlastResource.From
    let subject: String
    let audience: Int64
    /// Recipients that no message can reach, with the reason in the report.
    let invalid: Int64
    let no_address: Int64
    /// Recipients whose address stands further up on the list.
    let duplicates: Int64
    let fields: [Field]
    let missing_fields: [String]

    private static let counts = """
        SELECT count(*) FILTER (WHERE fault = 14) AS invalid, count(*) FILTER (WHERE fault = 6) AS no_address,
               count(address_hash) - count(DISTINCT address_hash) AS duplicates
          FROM recipient WHERE blast_id = $1
        """
    private static let emptyFields = """
        SELECT f.name, count(*) FILTER (WHERE CASE f.name WHEN 'email' THEN r.address WHEN 'name' THEN r.name
                   WHEN 'person_ref' THEN r.person_ref WHEN 'school' THEN r.school ELSE r.fields ->> f.name END
                   IS NULL) AS empty
          FROM recipient r CROSS JOIN unnest($2::text[]) AS f (name)
         WHERE r.blast_id = $1 AND r.fault IS NULL GROUP BY f.name
        """

    static func read(_ blast: BlastID, by caller: Caller, pool: PostgresPool) async throws -> BlastSummary {
        try await pool.withDistrict(caller.district) { connection in
            let document = try await BlastStore.read(blast, on: connection)
            let tags = try document.tags().sorted()
            var empty: [String: Int64] = [:]
            for row in try await connection.query(emptyFields, [.uuid(blast), .textArray(tags)]) {
                empty[try row.string("name")] = try row.int("empty")
            }
            let rows = try await connection.query(counts, [.uuid(blast)])
            guard let row = rows.first else { throw IntakeProblems.noSuchBlast }
            let fields = tags.map {
                Field(name: $0, on_list: document.fields.contains($0), empty: empty[$0] ?? 0)
            }
            return BlastSummary(
                blast_id: document.blast_id, state: document.state, class: document.class, from: document.from,
                subject: document.subject, audience: document.audience, invalid: try row.int("invalid"),
                no_address: try row.int("no_address"), duplicates: try row.int("duplicates"), fields: fields,
                missing_fields: fields.filter { !$0.on_list }.map(\.name))
        }
    }
}
