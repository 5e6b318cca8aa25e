import Delivery
import Postgres
import Runtime

/// The `pending` status of every recipient of a list and the counter of them all: the only rows of the projector's tables
/// that intake writes, in the transaction that stores the list.
enum FirstStatuses {
    /// - Parameter audience: how many recipients of the blast have been stored.
    static func insert(
        _ blast: BlastID, of district: Int64, audience: Int64, on connection: PostgresConnection
    ) async throws {
        let key: [PostgresParameter] = [.uuid(blast), .int(district)]
        let inserted = try await connection.query(
            """
            INSERT INTO delivery_status (blast_id, district_id, recipient_no, person_ref)
            SELECT blast_id, district_id, recipient_no, public_person_ref(person_ref)
              FROM recipient WHERE blast_id = $1 AND district_id = $2 ORDER BY recipient_no
            """, key)
        guard inserted.affectedRows == Int(audience) else {
            throw PostgresError(
                .invalidState, message: "\(audience) recipients were stored, and \(inserted.affectedRows) are there")
        }
        _ = try await connection.query(
            "INSERT INTO blast_count (blast_id, district_id, part, facts, n) VALUES ($1, $2, -1, 1, $3)",
            key + [.int(audience)])
    }
}
