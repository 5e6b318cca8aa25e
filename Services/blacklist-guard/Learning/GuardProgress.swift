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

    /// How often the event history has restarted, if something may have been lost that was not learned from the
    /// database since: rows belong to another cluster or are missing, or the projector has noticed a restart. Nil when
    /// reading the topic is enough.
    func unlearnedRestarts(cluster: String) async throws -> Int64? {
        let row = try await pool.query(
            Self.compareRestarts, [.text(cluster), .int(Int64(Topic.deliveryEvents.partitions))])[0]
        return try row.bool("learned") ? nil : row.int("restarts")
    }

    /// Makes a row for every partition; rows of another cluster begin anew, as never caught up. What the database kept
    /// after `restarts` of the history has been learned, where they are given.
    func open(cluster: String, restartsLearned restarts: Int64?) async throws {
        _ = try await pool.query(
            Self.openRows, [.text(cluster), .int(Int64(Topic.deliveryEvents.partitions)), .int(restarts ?? 0)])
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
        INSERT INTO guard_progress AS g (part, cluster_id, next_offset, caught_up_at, restarts_learned)
        SELECT part, $1, 0, 'epoch', $3 FROM generate_series(0, $2::int - 1) AS part ORDER BY part
        ON CONFLICT (part) DO UPDATE SET
            cluster_id = excluded.cluster_id,
            next_offset = CASE WHEN g.cluster_id = excluded.cluster_id THEN g.next_offset ELSE 0 END,
            caught_up_at = CASE WHEN g.cluster_id = excluded.cluster_id THEN g.caught_up_at ELSE 'epoch' END,
            restarts_learned = greatest(g.restarts_learned, excluded.restarts_learned)
         WHERE g.cluster_id <> excluded.cluster_id OR g.restarts_learned < excluded.restarts_learned
        """

    private static let compareRestarts = """
        SELECT r.restarts,
               (SELECT count(*) FROM guard_progress g
                 WHERE g.part < $2 AND g.cluster_id = $1 AND g.restarts_learned >= r.restarts) >= $2 AS learned
          FROM (SELECT coalesce(sum(incarnation - 1), 0)::bigint AS restarts FROM projector_partition) r
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
