import Contracts
import Delivery
import Kafka
import Postgres
import Runtime

/// The projector's SQL. One instance per projection; connections come from the pool.
struct ProjectionStore: Sendable {
    let projection: String
    let topic: String
    let database: PostgresPool
    /// Where the processor time of folding is counted.
    var folding: Counter?

    /// Another owner has taken the partition: nothing was written.
    struct Fenced: Error {}

    /// A batch folded into the states it found, and what is to be written.
    struct Prepared: Sendable {
        let batch: ReadBatch
        let fold: Fold
        fileprivate let parameters: [PostgresParameter]
    }

    /// Reads and folds without writing, so that it can be done while the batch before is being committed.
    ///
    /// Only the owner writes the partition's deliveries, and what it prepares is written only under the fence, at the
    /// sequence number it was prepared for: had anybody else written meanwhile, `commit` throws `Fenced`.
    ///
    /// - Parameters:
    ///   - ownership: as it is now, with the earlier batch not yet committed.
    ///   - earlier: the fold of that batch, whose states count before the stored ones.
    @concurrent
    func prepare(_ batch: ReadBatch, by ownership: Ownership, after earlier: Fold? = nil) async throws -> Prepared {
        let stored = try await database.withConnection { connection in
            try await states(of: batch.events, besides: earlier, on: connection)
        }
        return prepared(batch, states: stored, seq: earlier?.seq ?? ownership.seq, ownership)
    }

    private func prepared(
        _ batch: ReadBatch, states: [DeliveryID: DeliveryState], seq: Int64, _ ownership: Ownership
    ) -> Prepared {
        ThreadClock.charge(folding) {
            var fold = Fold(states: states, seq: seq)
            for event in batch.events { fold.apply(event) }
            let parameters =
                fold.changes.isEmpty
                ? [] : parameters(fold, part: ownership.part, incarnation: ownership.incarnation)
            return Prepared(batch: batch, fold: fold, parameters: parameters)
        }
    }

    /// Folds a batch into the database: everything or nothing.
    ///
    /// The fence row is locked first and to the end: it makes this process the only writer of the partition's
    /// deliveries, and its sequence number gapless and in commit order.
    ///
    /// - Parameter prepared: the batch as `prepare` folded it; without, it is read and folded under the fence.
    /// - Returns: the changes, to be published now that they are durable.
    /// - Throws: `Fenced`, or `PostgresError`; `.ambiguousCommit` means that the fence row has to be read again.
    func commit(
        _ batch: ReadBatch, prepared: Prepared? = nil, by ownership: Ownership, published: Int64
    ) async throws -> Fold {
        try await database.withTransaction { connection in
            let fence = try await connection.query(
                """
                SELECT seq FROM projector_partition
                 WHERE projection = $1 AND topic = $2 AND part = $3 AND epoch = $4 AND next_offset = $5 FOR UPDATE
                """,
                [
                    .text(projection), .text(topic), .int(Int64(ownership.part)), .int(ownership.epoch),
                    .int(ownership.nextOffset),
                ])
            guard let seq = try fence.first?.int("seq"), prepared.map({ $0.fold.startSeq == seq }) ?? true else {
                throw Fenced()
            }
            let ready =
                if let prepared { prepared } else {
                    self.prepared(
                        batch, states: try await states(of: batch.events, besides: nil, on: connection), seq: seq,
                        ownership)
                }
            let fold = ready.fold
            if !fold.changes.isEmpty { try await write(ready, on: connection) }
            try await park(batch, fold, ownership, on: connection)
            _ = try await connection.query(
                """
                UPDATE projector_partition
                   SET next_offset = $4, tail_event_id = $5, seq = $6, published_seq = greatest(published_seq, $7),
                       updated_at = clock_timestamp()
                 WHERE projection = $1 AND topic = $2 AND part = $3
                """,
                [
                    .text(projection), .text(topic), .int(Int64(ownership.part)), .int(batch.tail.nextOffset),
                    .text(batch.tail.eventID), .int(fold.seq), .int(published),
                ])
            FaultPoint.reach("projector.before-commit")
            return fold
        }
    }

    /// Records that everything up to `seq` is on the topic. False when another owner has the partition.
    func markPublished(_ seq: Int64, by ownership: Ownership) async throws -> Bool {
        let updated = try await database.query(
            """
            UPDATE projector_partition SET published_seq = greatest(published_seq, $5)
             WHERE projection = $1 AND topic = $2 AND part = $3 AND epoch = $4
            """,
            [
                .text(projection), .text(topic), .int(Int64(ownership.part)), .int(ownership.epoch), .int(seq),
            ])
        return updated.affectedRows == 1
    }

    /// The states of the deliveries that the events are about: those of the earlier fold, else the stored ones.
    private func states(
        of events: [ReadEvent], besides earlier: Fold?, on connection: PostgresConnection
    ) async throws -> [DeliveryID: DeliveryState] {
        let (known, deliveries) = ThreadClock.charge(folding) {
            var known: [DeliveryID: DeliveryState] = [:]
            var unknown: Set<DeliveryID> = []
            for event in events {
                let delivery = event.event.delivery
                if let state = earlier?.states[delivery] { known[delivery] = state } else { unknown.insert(delivery) }
            }
            return (known, unknown.sorted())
        }
        guard !deliveries.isEmpty else { return known }
        let rows = try await connection.query(
            """
            SELECT e.position, d.district_id, d.facts, d.last_seq, d.attempts, d.last_attempt_at, d.response,
                   d.response_at, d.changed_at, d.person_ref
              FROM unnest($1::uuid[], $2::int[]) WITH ORDINALITY AS e(blast_id, recipient_no, position)
              JOIN delivery_status d ON d.blast_id = e.blast_id AND d.recipient_no = e.recipient_no
            """,
            [
                .uuidArray(deliveries.map(\.blast)),
                .int4Array(deliveries.map(\.recipientNumber)),
            ], inBinary: true)
        return try ThreadClock.charge(folding) { try Self.states(of: deliveries, rows, besides: known) }
    }

    private static func states(
        of deliveries: [DeliveryID], _ rows: PostgresRows, besides known: [DeliveryID: DeliveryState]
    ) throws -> [DeliveryID: DeliveryState] {
        var states = known
        states.reserveCapacity(known.count + rows.count)
        for row in rows {
            // Positions count from 1.
            states[deliveries[Int(try row[0].int()) - 1]] = DeliveryState(
                district: DistrictID(try row[1].int()), facts: DeliveryFacts(bits: try row[2].int()),
                lastSeq: try row[3].optionalInt(), attempts: try row[4].int32(),
                lastAttemptAtMicroseconds: try row[5].optionalTimestampMicroseconds(),
                response: try row[6].optionalString(),
                responseAtMicroseconds: try row[7].optionalTimestampMicroseconds(),
                changedAtMicroseconds: try row[8].optionalTimestampMicroseconds(),
                personReference: try row[9].optionalString())
        }
        return states
    }

    /// One statement: rows, history, counters, problem list and the batch's own record.
    private func write(_ prepared: Prepared, on connection: PostgresConnection) async throws {
        let written = try await connection.query(Self.writeSQL, prepared.parameters)
        let expected = prepared.fold.changed.count
        guard let count = try written.first?.int("n"), count == Int64(expected) else {
            throw PostgresError(.server, message: "\(expected) deliveries were read but another number was updated")
        }
    }

    /// What `writeSQL` names.
    private func parameters(_ fold: Fold, part: Int32, incarnation: Int32) -> [PostgresParameter] {
        let rows = fold.changed.compactMap { id in fold.states[id].map { (id, $0) } }
        let log = fold.changes
        let deltas = fold.countDeltas
        let problems = log.filter { $0.newFact.map(Fold.problems.contains) == true }
        return [
            .int(Int64(part)), .int(Int64(incarnation)),
            .uuidArray(rows.map(\.0.blast)), .int4Array(rows.map(\.0.recipientNumber)),
            .int8Array(rows.map(\.1.facts.bits)), .int8OptionalArray(rows.map(\.1.lastSeq)),
            .int4Array(rows.map(\.1.attempts)), .timestampArray(rows.map(\.1.lastAttemptAtMicroseconds)),
            .textArray(rows.map(\.1.response)), .timestampArray(rows.map(\.1.responseAtMicroseconds)),
            .timestampArray(rows.map(\.1.changedAtMicroseconds)),
            .uuidArray(log.map(\.delivery.blast)),
            .int4Array(log.map(\.delivery.recipientNumber)), .int8Array(log.map(\.seq)),
            .int8OptionalArray(log.map(\.previousSeq)), .int8Array(log.map(\.state.district.number)),
            .textArray(log.map(\.event.id)), .textArray(log.map(\.event.source)),
            .int8OptionalArray(log.map { $0.newFact.map { Int64($0.rawValue) } }),
            .int8Array(log.map(\.state.facts.bits)), .int4Array(log.map(\.state.attempts)),
            .timestampArray(log.map(\.state.lastAttemptAtMicroseconds)), .textArray(log.map(\.state.response)),
            .timestampArray(log.map(\.event.occurredAtMicroseconds)),
            .timestampArray(log.map(\.recordedAtMicroseconds)),
            .textArray(log.map { $0.event.evidence.isEmpty ? nil : $0.event.evidence }),
            .uuidArray(deltas.map(\.blast)), .int8Array(deltas.map(\.facts.bits)),
            .int8Array(deltas.map(\.district.number)), .int8Array(deltas.map(\.n)),
            .uuidArray(problems.map(\.delivery.blast)),
            .int4Array(problems.map(\.delivery.recipientNumber)),
            .int4Array(problems.compactMap { $0.newFact.map { Int32($0.rawValue) } }),
            .int8Array(problems.map(\.state.district.number)),
            .text(projection), .int(log.first?.seq ?? 0), .int(log.last?.seq ?? 0),
            .uuidArray(Set(log.map(\.delivery.blast)).sorted()),
            .timestampArray(log.map(\.state.changedAtMicroseconds)),
        ]
    }

    private static let writeSQL = """
        WITH u AS (
            UPDATE delivery_status d
               SET facts = e.facts, part = $1, last_seq = e.last_seq, attempts = e.attempts,
                   last_attempt_at = e.last_attempt_at, response = e.response, response_at = e.response_at,
                   changed_at = e.changed_at
              FROM unnest($3::uuid[], $4::int[], $5::bigint[], $6::bigint[], $7::int[], $8::timestamptz[], $9::text[],
                          $10::timestamptz[], $11::timestamptz[])
                   AS e(blast_id, recipient_no, facts, last_seq, attempts, last_attempt_at, response, response_at,
                        changed_at)
             WHERE d.blast_id = e.blast_id AND d.recipient_no = e.recipient_no
            RETURNING 1
        ), l AS (
            INSERT INTO delivery_log (part, incarnation, blast_id, recipient_no, seq, prev_seq, district_id, event_id,
                                      source, fact, facts, attempts, last_attempt_at, response, changed_at,
                                      occurred_at, recorded_at, evidence)
            SELECT $1, $2, e.* FROM unnest($12::uuid[], $13::int[], $14::bigint[], $15::bigint[], $16::bigint[],
                                           $17::text[], $18::text[], $19::bigint[], $20::bigint[], $21::int[],
                                           $22::timestamptz[], $23::text[], $39::timestamptz[], $24::timestamptz[],
                                           $25::timestamptz[], $26::text[]) e
        ), c AS (
            INSERT INTO blast_count (part, blast_id, facts, district_id, n)
            SELECT $1, e.* FROM unnest($27::uuid[], $28::bigint[], $29::bigint[], $30::bigint[]) e
            ON CONFLICT (blast_id, part, facts) DO UPDATE SET n = blast_count.n + excluded.n
        ), p AS (
            INSERT INTO delivery_problem (blast_id, recipient_no, fact, district_id)
            SELECT e.* FROM unnest($31::uuid[], $32::int[], $33::int[], $34::bigint[]) e
            ON CONFLICT DO NOTHING
        ), b AS (
            INSERT INTO projector_batch (part, projection, seq_from, seq_to, blast_ids)
            VALUES ($1, $35, $36, $37, $38::uuid[])
        )
        SELECT count(*) AS n FROM u
        """
}
