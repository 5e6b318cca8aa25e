import Delivery
import Logging
import Postgres
import Runtime

/// Writes how attempts ended; outcomes that arrive while a write is under way go out together in the next one.
///
/// A slot is given back when its outcome is committed, and not before. A failing write is repeated until it succeeds:
/// the statement changes nothing the second time.
actor OutcomeWriter {
    private static let batchMax = 500
    /// How long the first outcome may wait for company: a write costs about the same for one as for twenty.
    private static let patience = Duration.milliseconds(2)

    /// The machine says what a late answer may still change. What is taken back must have been written under the same
    /// token.
    static let settle = """
        WITH outcome AS MATERIALIZED (
            SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::bigint[], $6::bigint[],
                                 $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[],
                                 $12::text[])
                   AS o(blast_id, recipient_no, attempt_no, state, fact, pause, code, enhanced, reply, token, event,
                        provider)
        ), settled AS (
            UPDATE attempt a
               SET state = o.state, fact = o.fact::smallint, settled_at = clock_timestamp(), reported_at = NULL,
                   next_at = clock_timestamp() + o.pause * interval '1 microsecond', provider = o.provider,
                   smtp_code = o.code::smallint, enhanced_code = o.enhanced, reply = o.reply
              FROM outcome o
             WHERE a.blast_id = o.blast_id AND a.recipient_no = o.recipient_no AND a.attempt_no = o.attempt_no
               AND (o.token IS NULL OR a.lease_token = o.token::uuid)
               AND \(AttemptMachine.admits(oneOf: Settlement.events, named: "o.event", "a"))
            RETURNING a.district_id, a.address_hash, a.content_hash, a.blast_id, a.recipient_no, o.event
        ), claim AS MATERIALIZED (
            SELECT c.district_id, c.address_hash, c.content_hash,
                   \(AttemptMachine.claim(oneOf: Settlement.events, named: "s.event")) AS state
              FROM settled s JOIN content_claim c USING (district_id, address_hash, content_hash)
             WHERE c.blast_id = s.blast_id AND c.recipient_no = s.recipient_no
             ORDER BY c.district_id, c.address_hash, c.content_hash
               FOR UPDATE OF c
        ), confirmed AS (
            UPDATE content_claim c
               SET state = n.state,
                   at = CASE WHEN c.state = n.state THEN c.at ELSE clock_timestamp() END
              FROM claim n
             WHERE c.district_id = n.district_id AND c.address_hash = n.address_hash
               AND c.content_hash = n.content_hash
        )
        SELECT count(*) AS settled FROM settled
        """

    private typealias Entry = (settlement: Settlement, continuation: CheckedContinuation<Void, Never>)

    private let database: PostgresPool
    private let slots: HandOverSlots
    private let logger: Logger
    private var pending: [Entry] = []
    private var isWriting = false
    private var isWaiting = false

    init(database: PostgresPool, slots: HandOverSlots, logger: Logger) {
        self.database = database
        self.slots = slots
        self.logger = logger
    }

    /// Returns once the outcome is committed and its slot given back.
    func settle(_ settlement: Settlement) async {
        await withCheckedContinuation { continuation in
            pending.append((settlement, continuation))
            guard !isWriting else { return }
            if pending.count * 2 >= slots.inUse {
                begin()
            } else if !isWaiting {
                isWaiting = true
                Task {
                    try? await Task.sleep(for: Self.patience)
                    isWaiting = false
                    if !isWriting, !pending.isEmpty { begin() }
                }
            }
        }
    }

    private func begin() {
        isWriting = true
        Task { await writePending() }
    }

    private func writePending() async {
        let outage = OutageLog("writing outcomes", logger: logger)
        var backoff = Backoff(initial: .milliseconds(50), maximum: .seconds(2))
        while !pending.isEmpty {
            let batch = Array(pending.prefix(Self.batchMax))
            do {
                try await Self.write(batch.map(\.settlement), database)
            } catch {
                outage.failed(error)
                try? await Task.sleep(for: backoff.next())
                continue
            }
            outage.worked()
            backoff.reset()
            pending.removeFirst(batch.count)
            slots.release(batch.count)
            for entry in batch { entry.continuation.resume() }
        }
        isWriting = false
    }

    static func write(_ batch: [Settlement], _ database: PostgresPool) async throws {
        _ = try await database.query(
            settle,
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
                .textArray(batch.map(\.provider)),
            ])
    }
}
