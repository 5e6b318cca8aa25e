import Contracts
import Postgres

/// How far the guard has learned, per partition of the event topic: where reading goes on, and until when everything
/// is known. The sender stops general sending when the oldest of these is too old, so every partition has a row from
/// the start, and one that nobody reads grows old.
///
/// Rows belong to a cluster: what a guard states that still reads an older one is ignored.
struct GuardProgress: Sendable {
    /// Where reading goes on, to be stored with what was learned before it.
    struct Position: Sendable {
        let cluster: String
        let next: [Int32: Int64]

        func store(_ connection: PostgresConnection) async throws {
            _ = try await connection.query(GuardProgress.storePositions, parameters)
        }

        fileprivate var parameters: [PostgresParameter] {
            [.text(cluster), .int4Array(Array(next.keys)), .int8Array(Array(next.values))]
        }
    }

    let pool: PostgresPool

    /// Makes a row for every partition; rows of another cluster begin anew, as never caught up.
    func open(cluster: String) async throws {
        _ = try await pool.query(
            Self.openRows, [.text(cluster), .int(Int64(Topic.deliveryEvents.partitions))])
    }

    /// The next offset of every partition under this cluster; 0 means from the beginning.
    func positions(cluster: String) async throws -> [Int32: Int64] {
        var positions: [Int32: Int64] = [:]
        for row in try await pool.query(Self.readPositions, [.text(cluster)]) {
            positions[try row.int32("part")] = try row.int("next_offset")
        }
        return positions
    }

    func store(_ position: Position) async throws {
        _ = try await pool.query(Self.storePositions, position.parameters)
    }

    /// The database's clock: the one that freshness is measured by.
    func databaseTime() async throws -> Int64 {
        try await pool.query("SELECT clock_timestamp() AS now")[0].timestampMicroseconds("now")
    }

    /// States that everything which was in the partition at `atMicroseconds` has been learned.
    func proveCaughtUp(cluster: String, part: Int32, nextOffset: Int64, atMicroseconds: Int64) async throws {
        _ = try await pool.query(
            Self.prove,
            [.text(cluster), .int4(part), .int(nextOffset), .timestampMicroseconds(atMicroseconds)])
    }

    private static let openRows = """
        INSERT INTO guard_progress AS g (part, cluster_id, next_offset, caught_up_at)
        SELECT part, $1, 0, 'epoch' FROM generate_series(0, $2::int - 1) AS part ORDER BY part
        ON CONFLICT (part) DO UPDATE SET cluster_id = excluded.cluster_id, next_offset = 0, caught_up_at = 'epoch'
         WHERE g.cluster_id <> excluded.cluster_id
        """

    private static let readPositions = "SELECT part, next_offset FROM guard_progress WHERE cluster_id = $1"

    private static let storePositions = """
        UPDATE guard_progress g SET next_offset = k.next_offset
          FROM unnest($2::int[], $3::bigint[]) AS k (part, next_offset)
         WHERE g.part = k.part AND g.cluster_id = $1
        """

    private static let prove = """
        UPDATE guard_progress SET next_offset = $3, caught_up_at = greatest(caught_up_at, $4)
         WHERE part = $2 AND cluster_id = $1
        """
}
