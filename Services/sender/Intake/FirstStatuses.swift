import Delivery
import Postgres
import Runtime

/// The `pending` status of every recipient of a list and the counter of them all: the only rows of the projector's tables
/// that intake writes, in the transaction that stores the list.
enum FirstStatuses {
    /// - Parameter source: a relation with `recipient_no` and `person_ref`, one row for each recipient of the blast.
    static func insert(
        _ blast: BlastID, of district: Int64, from source: String, audience: Int64, on connection: PostgresConnection
    ) async throws {
        let key: [PostgresParameter] = [.uuid(blast), .int(district)]
        _ = try await connection.query(
            """
            INSERT INTO delivery_status (blast_id, district_id, recipient_no, person_ref)
            SELECT $1, $2, recipient_no, public_person_ref(person_ref) FROM \(source)
            """, key)
        _ = try await connection.query(
            "INSERT INTO blast_count (blast_id, district_id, part, facts, n) VALUES ($1, $2, -1, 1, $3)",
            key + [.int(audience)])
    }
}
