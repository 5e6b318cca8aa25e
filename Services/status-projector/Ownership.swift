import Contracts
import Delivery
import Postgres
import Runtime

/// One taken partition: the fencing epoch and how far the projection is.
struct Ownership: Sendable, Hashable {
    let part: Int32
    let epoch: Int64
    let clusterID: String
    let incarnation: Int32
    var nextOffset: Int64
    /// The id of the record before `nextOffset`, which must still stand there.
    let tailEventID: String?
    var seq: Int64
    var publishedSeq: Int64
    /// Why the event history was found to have restarted just now.
    let restartReason: String?
    /// The status topic lacks what earlier incarnations published, as far as anyone knows.
    let needsFullRepublication: Bool

    /// What an offset belongs to: a recreated topic counts from 0 again in the same cluster.
    var history: String { incarnation == 1 ? clusterID : "\(clusterID)/\(incarnation)" }
}

extension ProjectionStore {
    /// The finding that a partition's history restarted.
    struct Restart: Sendable {
        let reason: String
        /// The epoch of the owner that found it.
        let epoch: Int64
    }

    /// Takes a partition: from here on every earlier owner is fenced.
    ///
    /// What the earlier owner committed and is not known to have published becomes suspect: it may publish that late.
    ///
    /// - Parameter restart: why the event history counts as restarted, when it does: the incarnation rises, reading
    ///   begins anew, and the incident is recorded. A partition of another cluster is always a restart.
    /// - Throws: `Fenced` when another owner has taken the partition since the restart was found.
    func acquire(part: Int32, clusterID: String, restart: Restart? = nil) async throws -> Ownership {
        try await database.withTransaction { connection in
            let identity: [PostgresParameter] = [.text(projection), .text(topic), .int(Int64(part))]
            _ = try await connection.query(
                """
                INSERT INTO projector_partition (projection, topic, part, cluster_id) VALUES ($1, $2, $3, $4)
                ON CONFLICT DO NOTHING
                """, identity + [.text(clusterID)])
            guard
                let before = try await connection.query(
                    """
                    SELECT cluster_id, incarnation, next_offset, epoch FROM projector_partition
                     WHERE projection = $1 AND topic = $2 AND part = $3 FOR UPDATE
                    """, identity
                ).first
            else { throw PostgresError(.server, message: "the fence row of partition \(part) cannot be read") }
            if let restart, try before.int("epoch") != restart.epoch { throw Fenced() }
            let oldCluster = try before.string("cluster_id")
            let reason = restart?.reason ?? (oldCluster == clusterID ? nil : "the broker is another cluster")
            if let reason {
                _ = try await connection.query(
                    """
                    INSERT INTO projector_incident (projection, part, incarnation, reason, old_cluster_id,
                                                    new_cluster_id, old_next_offset)
                    VALUES ($1, $2, $3, $4, $5, $6, $7)
                    """,
                    [
                        .text(projection), .int(Int64(part)), .int(try before.int("incarnation") + 1), .text(reason),
                        .text(oldCluster), .text(clusterID), .int(try before.int("next_offset")),
                    ])
            }
            guard
                let row = try await connection.query(
                    """
                    UPDATE projector_partition
                       SET epoch = epoch + 1, cluster_id = $4, updated_at = clock_timestamp(),
                           incarnation = incarnation + CASE WHEN $5 THEN 1 ELSE 0 END,
                           republished_blast = CASE WHEN $5 THEN NULL ELSE republished_blast END,
                           next_offset = CASE WHEN $5 THEN 0 ELSE next_offset END,
                           tail_event_id = CASE WHEN $5 THEN NULL ELSE tail_event_id END
                     WHERE projection = $1 AND topic = $2 AND part = $3
                    RETURNING epoch, incarnation, published_incarnation, next_offset, tail_event_id, seq, published_seq
                    """, identity + [.text(clusterID), .bool(reason != nil)]
                ).first
            else { throw PostgresError(.server, message: "the fence row of partition \(part) has gone") }
            _ = try await connection.query(
                "UPDATE projector_batch SET is_suspect = true WHERE projection = $1 AND part = $2 AND seq_to > $3",
                [.text(projection), .int(Int64(part)), .int(try row.int("published_seq"))])
            return Ownership(
                part: part, epoch: try row.int("epoch"), clusterID: clusterID,
                incarnation: try row.int32("incarnation"), nextOffset: try row.int("next_offset"),
                tailEventID: try row.optionalString("tail_event_id"), seq: try row.int("seq"),
                publishedSeq: try row.int("published_seq"),
                restartReason: reason,
                needsFullRepublication: try row.int("published_incarnation") < row.int("incarnation"))
        }
    }

    /// The last blast whose newest states are all on the topic under the partition's incarnation; nil before the first.
    func republishedBlast(_ ownership: Ownership) async throws -> BlastID? {
        let row = try await database.query(
            "SELECT republished_blast FROM projector_partition WHERE projection = $1 AND topic = $2 AND part = $3",
            [.text(projection), .text(topic), .int(Int64(ownership.part))]
        ).first
        return try row?.optionalBlastID("republished_blast")
    }

    /// Records how far the publication of everything kept is, so that a new owner goes on there; nil: it is complete.
    func markRepublished(_ blast: BlastID?, by ownership: Ownership) async throws {
        let updated = try await database.query(
            """
            UPDATE projector_partition
               SET republished_blast = $5,
                   published_incarnation = CASE WHEN $5 IS NULL THEN incarnation ELSE published_incarnation END
             WHERE projection = $1 AND topic = $2 AND part = $3 AND epoch = $4
            """,
            [
                .text(projection), .text(topic), .int(Int64(ownership.part)), .int(ownership.epoch),
                .uuid(blast),
            ])
        guard updated.affectedRows == 1 else { throw Fenced() }
    }

    /// After an ambiguous commit: whether the batch that would end at `nextOffset` is durable. Waits for a commit that the
    /// server is still working on.
    /// - Throws: `Fenced` when another owner has taken the partition meanwhile.
    func hasCommitted(upTo nextOffset: Int64, by ownership: Ownership) async throws -> Bool {
        let row = try await database.query(
            """
            SELECT epoch, next_offset FROM projector_partition
             WHERE projection = $1 AND topic = $2 AND part = $3 FOR SHARE
            """, [.text(projection), .text(topic), .int(Int64(ownership.part))]
        ).first
        guard let row, try row.int("epoch") == ownership.epoch else { throw Fenced() }
        return try row.int("next_offset") == nextOffset
    }
}
