import Delivery
import Postgres
import Runtime

/// Writes how attempts ended. Changes nothing the second time.
struct OutcomeStatement {
    /// What a write did.
    struct Written: Sendable {
        /// How many attempts changed.
        let settled: Int
        let settledAtMicroseconds: Int64
        /// Answers for the facts of the batch, when they count as reported.
        let report: Int64?
    }

    private static let parameterCount = 13
    private static let ordinary = DayStatement { parts(day: $0).text }
    private static let releasing = DayStatement { parts(day: $0, releases: true).text }
    private static let beforeWire = DayStatement {
        parts(day: $0).text(beside: Wire.parts(day: $0), after: parameterCount)
    }

    /// Of blasts of one day.
    let batch: [Settlement]
    /// The facts count as reported, and the caller publishes them.
    var reports = false

    @discardableResult
    func write(_ database: PostgresPool) async throws -> Written {
        guard let first = batch.first else { return Written(settled: 0, settledAtMicroseconds: 0, report: nil) }
        let text = releasesClaims ? Self.releasing : Self.ordinary
        return try written(await database.query(text(first.delivery.blast), parameters))
    }

    /// With WIRE of the messages that take over the slots of the batch, in the same statement and so in one commit. An
    /// error leaves open whether either took effect.
    ///
    /// - Parameter successor: first attempts of a blast of the same day, while the batch releases no claims.
    func write(_ database: PostgresPool, before successor: Successor) async throws -> (Written, WireResult) {
        let rows = try await database.query(
            Self.beforeWire(successor.blast),
            parameters + successor.wire.parameters(successor.prepared.map(\.entry), successor.blast, successor.token))
        return (try written(rows), try successor.wire.result(rows))
    }

    /// Some outcome of the batch gives its content claim up.
    var releasesClaims: Bool { batch.contains { AttemptMachine.result(of: $0.event)?.claim == .released } }

    private var parameters: [PostgresParameter] {
        [
            .uuidArray(batch.map(\.delivery.blast)),
            .int4Array(batch.map(\.delivery.recipientNumber)),
            .int4Array(batch.map(\.attempt)),
            .textArray(batch.map(\.state.rawValue)),
            .int8OptionalArray(batch.map { $0.fact.map { Int64($0.rawValue) } }),
            .int8OptionalArray(batch.map { $0.retryAfter?.wholeMicroseconds }),
            .int8OptionalArray(batch.map { $0.code.map(Int64.init) }),
            .textArray(batch.map(\.enhancedCode)),
            .textArray(batch.map { Optional($0.reply) }),
            .textArray(batch.map { $0.token?.description }), .textArray(batch.map(\.event.rawValue)),
            .textArray(batch.map(\.provider)), .bool(reports),
        ]
    }

    private func written(_ rows: PostgresRows) throws -> Written {
        guard let row = rows.first else { throw PostgresError(.decoding, message: "the outcomes gave no answer") }
        return Written(
            settled: Int(try row.int("settled")), settledAtMicroseconds: try row.timestampMicroseconds("settled_at"),
            report: try row.optionalInt("report_id"))
    }

    private static func parts(day: String, releases: Bool = false) -> StatementParts {
        StatementParts(with: with(day: day) + (releases ? released : ""), answer: answer)
    }

    private static let answer = """
        SELECT count(*) AS settled, statement_timestamp() AS settled_at, (SELECT report_id FROM report) AS report_id
          FROM settled
        """

    /// The machine says what a late answer may still change. What is taken back must have been written under the same
    /// token.
    private static func with(day: String) -> String {
        """
        outcome AS (
            SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::bigint[], $6::bigint[],
                                 $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[],
                                 $12::text[])
                   AS o(blast_id, recipient_no, attempt_no, state, fact, pause, code, enhanced, reply, token, event,
                        provider)
        ), settled AS (
            UPDATE attempt\(day) a
               SET state = o.state, fact = o.fact::smallint, settled_at = statement_timestamp(),
                   reported_at = CASE WHEN $13 AND o.fact IS NOT NULL THEN statement_timestamp() END,
                   next_at = clock_timestamp() + o.pause * interval '1 microsecond', provider = o.provider,
                   smtp_code = o.code::smallint, enhanced_code = o.enhanced, reply = o.reply
              FROM outcome o
             WHERE a.blast_id = o.blast_id AND a.recipient_no = o.recipient_no AND a.attempt_no = o.attempt_no
               AND (o.token IS NULL OR a.lease_token = o.token::uuid)
               AND \(AttemptMachine.admits(oneOf: Settlement.events, named: "o.event", "a"))
            RETURNING a.district_id, a.address_hash, a.content_hash, a.blast_id, a.recipient_no, o.event
        ), report AS (
            INSERT INTO attempt_report (blast_ids, recipient_nos, attempt_nos) SELECT $1, $2, $3 WHERE $13
            RETURNING report_id
        )
        """
    }

    /// An accepted message leaves its claim alone: the attempt says that it was handed over. Claims are released in key
    /// order, as in WIRE, so that two statements hardly ever wait for each other.
    private static let released = """
        , released AS (
            DELETE FROM content_claim c
             USING (SELECT s.* FROM settled s
                     WHERE \(AttemptMachine.releases(oneOf: Settlement.events, named: "s.event"))
                     ORDER BY s.district_id, s.address_hash, s.content_hash OFFSET 0) n
             WHERE c.district_id = n.district_id AND c.address_hash = n.address_hash
               AND c.content_hash = n.content_hash AND c.blast_id = n.blast_id AND c.recipient_no = n.recipient_no
        )
        """
}
