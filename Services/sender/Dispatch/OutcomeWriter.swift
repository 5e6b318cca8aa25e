import Delivery
import Logging
import Postgres
import Runtime
import Synchronization

/// Writes how attempts ended; outcomes that arrive while a write is under way go out together in the next one.
///
/// A slot is given back when its outcome is committed, and not before. A failing write is repeated until it succeeds:
/// the statement changes nothing the second time.
actor OutcomeWriter {
    private static let batchMax = 500
    /// How long the first outcome may wait for company: a write costs about the same for one as for twenty.
    private static let patience = Duration.milliseconds(2)

    /// The machine says what a late answer may still change. What is taken back must have been written under the same
    /// token. Claims change in key order, as in WIRE, so that two statements hardly ever wait for each other.
    private static let settle = DayStatement { day in
        """
        WITH outcome AS MATERIALIZED (
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
        ), confirmed AS (
            UPDATE content_claim c
               SET state = n.state,
                   at = CASE WHEN c.state = n.state THEN c.at ELSE clock_timestamp() END
              FROM (SELECT s.*, \(AttemptMachine.claim(oneOf: Settlement.events, named: "s.event")) AS state
                      FROM settled s ORDER BY s.district_id, s.address_hash, s.content_hash OFFSET 0) n
             WHERE c.district_id = n.district_id AND c.address_hash = n.address_hash
               AND c.content_hash = n.content_hash AND c.blast_id = n.blast_id AND c.recipient_no = n.recipient_no
        ), report AS (
            INSERT INTO attempt_report (blast_ids, recipient_nos, attempt_nos) SELECT $1, $2, $3 WHERE $13
            RETURNING report_id
        )
        SELECT count(*) AS settled, statement_timestamp() AS settled_at, (SELECT report_id FROM report) AS report_id
          FROM settled
        """
    }

    private struct Entry {
        let settlement: Settlement
        /// Nil for what was taken back, of which there is no news.
        let wired: WiredMessage?
        let finished: @Sendable () -> Void

        var day: Int64 { DayStatement.day(of: settlement.delivery.blast) }
    }

    private struct Arrivals {
        var pending: [Entry] = []
        var isWriting = false
        /// Somebody will look when `patience` is over.
        var isTimed = false
    }

    /// What a write did.
    struct Written: Sendable {
        /// How many attempts changed.
        let settled: Int
        let settledAtMicroseconds: Int64
        /// Answers for the facts of the batch, when they count as reported.
        let report: Int64?
    }

    private let database: PostgresPool
    private let slots: HandOverSlots
    private let reporter: OutcomeReporter?
    private let logger: Logger
    private let executor: EventLoopExecutor
    private let arrivals = Mutex(Arrivals())

    /// - Parameters:
    ///   - reporter: publishes facts as soon as they are committed; without it all are left to their rows.
    ///   - executor: where most outcomes come from, so that its thread is awake anyway. Writes are prepared there and
    ///     never stand in line behind messages being composed.
    init(
        database: PostgresPool, slots: HandOverSlots, reporter: OutcomeReporter?, logger: Logger,
        executor: EventLoopExecutor = .shared
    ) {
        self.database = database
        self.reporter = reporter
        self.slots = slots
        self.logger = logger
        self.executor = executor
    }

    /// Returns once the outcome is committed and its slot given back.
    nonisolated func settle(_ settlement: Settlement, of wired: WiredMessage?) async {
        await withCheckedContinuation { continuation in
            settle(settlement, of: wired) { continuation.resume() }
        }
    }

    /// Returns at once.
    ///
    /// - Parameter finished: called once the outcome is committed and its slot given back; must not block.
    nonisolated func settle(
        _ settlement: Settlement, of wired: WiredMessage?, finished: @escaping @Sendable () -> Void
    ) {
        let entry = Entry(settlement: settlement, wired: wired, finished: finished)
        look { $0.pending.append(entry) }
    }

    /// Half of what is under way is company enough to write at once; fewer wait for more.
    private nonisolated func look(isLate: Bool = false, after change: (inout Arrivals) -> Void) {
        let (isDue, isFirst) = arrivals.withLock { arrivals in
            change(&arrivals)
            guard !arrivals.isWriting, !arrivals.pending.isEmpty else { return (false, false) }
            arrivals.isWriting = isLate || arrivals.pending.count * 2 >= slots.inUse
            guard !arrivals.isWriting, !arrivals.isTimed else { return (arrivals.isWriting, false) }
            arrivals.isTimed = true
            return (false, true)
        }
        if isDue { Task(executorPreference: executor) { await self.writePending() } }
        if isFirst { executor.schedule(after: Self.patience) { self.look(isLate: true) { $0.isTimed = false } } }
    }

    private func writePending() async {
        repeat {
            let batch = takeBatch()
            let written = await write(batch)
            for channel in Channel.allCases {
                slots.release(batch.count { $0.settlement.channel == channel }, of: channel)
            }
            for entry in batch { entry.finished() }
            await report(batch, written)
        } while arrivals.withLock { !$0.pending.isEmpty && $0.pending.count * 2 >= slots.inUse }
        look { $0.isWriting = false }
    }

    /// Blasts of different days have their rows in different tables.
    private func takeBatch() -> [Entry] {
        arrivals.withLock { arrivals in
            let day = arrivals.pending.first?.day
            var (batch, rest) = ([Entry](), [Entry]())
            for entry in arrivals.pending {
                if entry.day == day, batch.count < Self.batchMax { batch.append(entry) } else { rest.append(entry) }
            }
            arrivals.pending = rest
            return batch
        }
    }

    private func write(_ batch: [Entry]) async -> Written {
        let outage = OutageLog("writing outcomes", logger: logger)
        var backoff = Backoff(initial: .milliseconds(50), maximum: .seconds(2))
        while true {
            do {
                let reports = await reporter?.isOpen == true && batch.contains { $0.settlement.fact != nil }
                let written = try await Self.write(batch.map(\.settlement), reports: reports, database)
                outage.worked()
                return written
            } catch {
                outage.failed(error)
                try? await Task.sleep(for: backoff.next())
            }
        }
    }

    /// When an outcome changed nothing, only the rows can say which: they are taken back.
    private func report(_ batch: [Entry], _ written: Written) async {
        guard let number = written.report, written.settled == batch.count else { return }
        let facts = batch.compactMap { entry in
            entry.wired.flatMap {
                AttemptFact(entry.settlement, of: $0, settledAtMicroseconds: written.settledAtMicroseconds)
            }
        }
        await reporter?.publish(OutcomeReporter.Report(number: number, facts: facts))
    }

    /// - Parameters:
    ///   - batch: of blasts of one day.
    ///   - reports: the facts count as reported, and the caller publishes them.
    @discardableResult
    static func write(
        _ batch: [Settlement], reports: Bool = false, _ database: PostgresPool
    ) async throws -> Written {
        guard let first = batch.first else { return Written(settled: 0, settledAtMicroseconds: 0, report: nil) }
        let rows = try await database.query(
            settle(first.delivery.blast),
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
            ])
        guard let row = rows.first else { throw PostgresError(.decoding, message: "the outcomes gave no answer") }
        return Written(
            settled: Int(try row.int("settled")), settledAtMicroseconds: try row.timestampMicroseconds("settled_at"),
            report: try row.optionalInt("report_id"))
    }
}
