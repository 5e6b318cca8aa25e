import Contracts
import Postgres
import Runtime

/// How far a second projection is and how far it shall go, in tables that `rollcall rebuild start` made.
///
/// Its tables have the names of the live ones and stand in a schema of their own, which is searched first.
struct RebuildStore: Sendable {
    let projection: String
    let topic: String
    let database: PostgresPool

    /// The search path of a second projection; nil for the live one.
    /// - Throws: `ConfigurationError` for a name that cannot be a schema's.
    static func searchPath(of projection: String) throws(ConfigurationError) -> String? {
        guard let name = ProjectionName(projection) else {
            throw ConfigurationError(
                subject: ProjectorConfiguration.projection.key,
                explanation: "\"\(projection)\" is no name of a projection: use \(ProjectionName.rule)")
        }
        return name.isLive ? nil : "\(name.schema),rollcall"
    }

    /// One partition's way from offset 0 to the cut.
    struct Way: Sendable {
        let clusterID: String
        let nextOffset: Int64
        /// Nothing from here on is projected: the live tables were copied for comparison at this offset.
        let untilOffset: Int64
        /// Records that the live projection met before their delivery's row.
        let late: Set<Int64>
    }

    /// Why the history cannot be projected from its beginning. Recorded for the operator; trying again is of no use.
    struct Impossible: Error, CustomStringConvertible {
        /// Nil when it is none of one partition.
        let part: Int32?
        let reason: String
        var description: String { part.map { "partition \($0): \(reason)" } ?? reason }
    }

    func ways() async throws -> [Int32: Way] {
        let made = try await database.query("SELECT to_regclass('rebuild_cut') IS NOT NULL AS is_made").first
        guard try made?.bool("is_made") == true else {
            throw Impossible(part: nil, reason: "make it with 'rollcall rebuild start \(projection)' first")
        }
        let rows = try await database.query(
            """
            SELECT c.part, c.until_offset, p.cluster_id, p.next_offset,
                   ARRAY (SELECT l.record_offset FROM rebuild_late l WHERE l.part = c.part) AS late
              FROM rebuild_cut c
              JOIN projector_partition p ON p.part = c.part AND p.projection = $1 AND p.topic = $2
            """, [.text(projection), .text(topic)])
        var ways: [Int32: Way] = [:]
        for row in rows {
            ways[try row.int32("part")] = Way(
                clusterID: try row.string("cluster_id"), nextOffset: try row.int("next_offset"),
                untilOffset: try row.int("until_offset"),
                late: Set(try row.int8Array("late").compactMap(\.self)))
        }
        return ways
    }

    func record(_ impossible: Impossible) async throws {
        _ = try await database.query(
            """
            INSERT INTO projector_incident (projection, part, incarnation, reason, old_next_offset)
            SELECT projection, part, incarnation, $4, next_offset FROM projector_partition
             WHERE projection = $1 AND topic = $2 AND part = $3
            ON CONFLICT (projection, part, incarnation) DO UPDATE SET reason = excluded.reason
            """, [.text(projection), .text(topic), .int(impossible.part.map(Int64.init)), .text(impossible.reason)])
    }
}
