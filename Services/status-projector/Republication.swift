import Contracts
import Delivery
import Postgres
import Runtime

/// Reads back from the log what has to be published (again) after a takeover.
extension ProjectionStore {
    struct LoggedBatch: Sendable {
        let seqFrom: Int64
        let seqTo: Int64
        let blasts: [BlastID]
    }

    /// Batches that may not be on the topic yet, oldest first.
    func batches(of ownership: Ownership, after seq: Int64) async throws -> [LoggedBatch] {
        try read(
            try await database.query(
                """
                SELECT seq_from, seq_to, blast_ids::text[] AS blast_ids FROM projector_batch
                 WHERE projection = $1 AND part = $2 AND seq_to > $3 ORDER BY seq_to
                """, [.text(projection), .int(Int64(ownership.part)), .int(seq)]))
    }

    /// Batches that an earlier owner may still publish late.
    func suspectBatches(of ownership: Ownership) async throws -> [LoggedBatch] {
        try read(
            try await database.query(
                """
                SELECT seq_from, seq_to, blast_ids::text[] AS blast_ids FROM projector_batch
                 WHERE projection = $1 AND part = $2 AND is_suspect ORDER BY seq_to
                """, [.text(projection), .int(Int64(ownership.part))]))
    }

    /// Every change of a batch, in order.
    func changes(in batch: LoggedBatch, of ownership: Ownership) async throws -> [DeliveryStatusRecord] {
        try records(
            try await database.query(
                Self.columns + """
                     FROM delivery_log l
                     JOIN delivery_status s ON s.blast_id = l.blast_id AND s.recipient_no = l.recipient_no
                    WHERE l.blast_id = ANY ($1::uuid[]) AND l.part = $2 AND l.seq BETWEEN $3 AND $4 ORDER BY l.seq
                    """,
                [
                    .uuidArray(batch.blasts), .int(Int64(ownership.part)),
                    .int(batch.seqFrom), .int(batch.seqTo),
                ]), incarnation: ownership.incarnation)
    }

    /// The newest state of every delivery that a batch changed.
    func newestStates(touchedBy batch: LoggedBatch, of ownership: Ownership) async throws -> [DeliveryStatusRecord] {
        try records(
            try await database.query(
                Self.columns + """
                     FROM (SELECT DISTINCT blast_id, recipient_no FROM delivery_log
                            WHERE blast_id = ANY ($1::uuid[]) AND part = $2 AND seq BETWEEN $3 AND $4) t
                     JOIN delivery_status s ON s.blast_id = t.blast_id AND s.recipient_no = t.recipient_no
                     JOIN delivery_log l ON l.blast_id = s.blast_id AND l.part = s.part AND l.seq = s.last_seq
                    """,
                [
                    .uuidArray(batch.blasts), .int(Int64(ownership.part)),
                    .int(batch.seqFrom), .int(batch.seqTo),
                ]), incarnation: ownership.incarnation)
    }

    /// Blasts whose report is still kept, after the one named.
    func keptBlasts(after: BlastID?) async throws -> [BlastID] {
        try await database.query(
            """
            SELECT blast_id FROM blast WHERE state <> 'draft' AND (expires_at IS NULL OR expires_at > now())
               AND ($1 IS NULL OR blast_id > $1) ORDER BY blast_id
            """, [.uuid(after)]
        ).map { try $0[0].blastID() }
    }

    /// A page of the newest states of a blast's deliveries in this partition, after recipient `after`: the first records
    /// of an incarnation, each covering all versions up to its own.
    func newestStates(of blast: BlastID, after: Int32, limit: Int, _ ownership: Ownership) async throws
        -> [DeliveryStatusRecord]
    {
        try records(
            try await database.query(
                Self.columns + """
                     FROM delivery_status s
                     JOIN delivery_log l ON l.blast_id = s.blast_id AND l.part = s.part AND l.seq = s.last_seq
                    WHERE s.blast_id = $1 AND s.part = $2 AND s.recipient_no > $3
                    ORDER BY s.recipient_no LIMIT $4
                    """,
                [
                    .uuid(blast), .int(Int64(ownership.part)), .int(Int64(after)),
                    .int(Int64(limit)),
                ]), incarnation: ownership.incarnation, coversAll: true)
    }

    /// Forgets batches that are published and that no earlier owner can publish late any more.
    func forgetBatches(of ownership: Ownership, zombieHorizon: Duration) async throws {
        _ = try await database.query(
            """
            DELETE FROM projector_batch b USING projector_partition p
             WHERE p.projection = $1 AND p.topic = $2 AND p.part = $3 AND b.projection = p.projection
               AND b.part = p.part AND b.seq_to <= p.published_seq
               AND (NOT b.is_suspect OR b.committed_at < clock_timestamp() - $4 * interval '1 second')
            """,
            [
                .text(projection), .text(topic), .int(Int64(ownership.part)),
                .double(Double(zombieHorizon.components.seconds)),
            ])
    }

    private static let columns = """
        SELECT l.blast_id, l.recipient_no, l.district_id, l.facts, l.prev_seq, l.seq, l.attempts, l.last_attempt_at,
               l.response, l.changed_at, l.event_id, s.person_ref
        """

    private func records(_ rows: PostgresRows, incarnation: Int32, coversAll: Bool = false) throws
        -> [DeliveryStatusRecord]
    {
        try rows.map { row in
            let facts = DeliveryFacts(bits: try row[3].int())
            return DeliveryStatusRecord(
                delivery: DeliveryID(blast: try row[0].blastID(), recipientNumber: try row[1].int32()),
                district: DistrictID(try row[2].int()), facts: facts,
                versionFrom: try coversAll || row[4].optionalInt() == nil ? 0 : facts.version,
                incarnation: incarnation, seq: try row[5].int(), attempts: try row[6].int32(),
                lastAttemptAtMicroseconds: try row[7].optionalTimestampMicroseconds(),
                response: try row[8].optionalString(), changedAtMicroseconds: try row[9].timestampMicroseconds(),
                eventID: try row[10].string(), personReference: try row[11].optionalString())
        }
    }

    private func read(_ rows: PostgresRows) throws -> [LoggedBatch] {
        try rows.map { row in
            LoggedBatch(
                seqFrom: try row.int("seq_from"), seqTo: try row.int("seq_to"),
                blasts: try row.textArray("blast_ids").compactMap { $0.flatMap(BlastID.init) })
        }
    }
}

extension DeliveryStatusRecord {
    /// The record that a fresh change is published as.
    init(_ change: Change, incarnation: Int32) {
        self.init(
            delivery: change.delivery, district: change.state.district, facts: change.state.facts,
            versionFrom: change.previousSeq == nil ? 0 : change.state.facts.version, incarnation: incarnation,
            seq: change.seq, attempts: change.state.attempts,
            lastAttemptAtMicroseconds: change.state.lastAttemptAtMicroseconds, response: change.state.response,
            changedAtMicroseconds: change.state.changedAtMicroseconds ?? change.event.occurredAtMicroseconds,
            eventID: change.event.id, personReference: change.state.personReference)
    }
}
