import Contracts
import Delivery
import Postgres
import Runtime

// A report as it was at a time: each delivery as the last of its records that had reached the event topic by then left
// it (`delivery_log.recorded_at`). Counts, rows and one delivery are read from the same records, so they agree, and a
// projection that is built again from the events gives the same past. What the projector had not read yet at that time is
// counted in: the past is what was known, not how far the report had come.
//
// There is no index by time. The counts of a past time cost one pass over the blast's own records, which is cut off
// after `timeLimitSeconds`.

/// A time that a report is asked for.
struct PastTime: Sendable, Hashable {
    static let parameter = "as_of"
    static let timeLimitSeconds = 20

    let microseconds: Int64

    /// - Parameter times: reads a time without a zone, as forms send it; nil takes none.
    /// - Throws: `Problem` 400 for what is not a time.
    static func asked(_ fields: FormFields, in times: LocalTime? = nil) throws(Problem) -> PastTime? {
        // A plus sign that was not escaped arrives as a space.
        guard let text = fields[parameter]?.replacing(" ", with: "+") else { return nil }
        guard let microseconds = Timestamp.microseconds(text) ?? times?.microseconds(text) else {
            throw ReportProblems.parameter(
                parameter, "is not a time as RFC 3339 writes it, such as 2026-11-21T19:53:57Z or …T13:53:57-06:00")
        }
        return PastTime(microseconds: microseconds)
    }

    /// Runs reads that cost a pass over a blast's records.
    /// - Throws: `Problem` 503 when they take too long.
    static func bounded<Value: Sendable>(
        seconds: Int = timeLimitSeconds, on connection: PostgresConnection, _ body: () async throws -> Value
    ) async throws -> Value {
        _ = try await connection.query(
            "SELECT set_config('statement_timeout', $1, true)", [.text("\(seconds)s")])
        do {
            return try await body()
        } catch let error as PostgresError where error.sqlState == "57014" {
            throw ReportProblems.pastTooLarge(seconds: seconds)
        }
    }
}

extension BlastDocument {
    /// - Parameter time: nil reads the newest numbers.
    static func read(_ id: BlastID, at time: PastTime?, on connection: PostgresConnection) async throws -> BlastDocument
    {
        try await read(id, on: connection).at(time, on: connection)
    }

    /// The document with the numbers of a time; nil leaves it as it is.
    func at(_ time: PastTime?, on connection: PostgresConnection) async throws -> BlastDocument {
        guard let time else { return self }
        var past = try timed(time)
        past.counts = try await PastTime.bounded(on: connection) {
            try await counts(at: time.microseconds, on: connection)
        }
        if past.state == .sent, past.counts.entries.allSatisfy(\.facts.isFinal) { past.state = .settled }
        return past
    }

    /// The document as it was at a time, without its counts. The recipients are those of the list that was sent: who was
    /// taken off a draft is not kept.
    /// - Throws: `Problem` 400 for a time before the blast was made or in the future.
    func timed(_ time: PastTime?) throws(Problem) -> BlastDocument {
        guard let at = time?.microseconds else { return self }
        guard at <= asOf else {
            throw ReportProblems.parameter(
                PastTime.parameter, "lies in the future: it is now \(Timestamp.string(microseconds: asOf))")
        }
        guard at >= createdAt else {
            throw ReportProblems.parameter(
                PastTime.parameter, "is before this blast was made, at \(Timestamp.string(microseconds: createdAt))")
        }
        func known(_ moment: Int64?) -> Int64? { moment.flatMap { $0 <= at ? $0 : nil } }
        var document = self
        document.asOf = at
        document.isPast = true
        document.waiting = .unknown
        let hasBegun = state != .awaitingApproval && state != .scheduled && known(sendRequestedAt) != nil
        document.sendRequestedAt = hasBegun ? sendRequestedAt : known(orderedAt)
        document.pausedAt = known(pausedAt)
        document.cancelledAt = known(cancelledAt)
        document.sendingEndedAt = known(sendingEndedAt)
        if document.sendRequestedAt == nil {
            document.state = .draft
        } else if !hasBegun {
            document.state = needsApproval && known(approvedAt) == nil ? .awaitingApproval : .scheduled
        } else if document.sendingEndedAt == nil {
            document.state = .sending
        } else {
            document.state = .sent
        }
        return document
    }

    private func counts(at: Int64, on connection: PostgresConnection) async throws -> FactCounts {
        let rows = try await connection.query(Self.countPast, [.uuid(id), .timestampMicroseconds(at)])
        var numbers: [DeliveryFacts: Int64] = [:]
        for row in rows { numbers[DeliveryFacts(bits: try row.int("facts"))] = try row.int("n") }
        // Who has no record yet is pending.
        numbers[.initial, default: 0] += counts.total - numbers.values.reduce(0, +)
        return FactCounts(
            entries: numbers.filter { $0.value != 0 }.map { FactCounts.Entry(facts: $0.key, n: $0.value) }
                .sorted { $0.facts.bits < $1.facts.bits })
    }

    /// The sets of a delivery's records grow along its chain, so that their union is the newest one's.
    fileprivate static let pastStates = """
        SELECT recipient_no, max(part) AS part, max(seq) AS seq, bit_or(facts) AS facts FROM delivery_log
         WHERE blast_id = $1 AND recorded_at <= $2 GROUP BY recipient_no
        """

    private static let countPast = "SELECT facts, count(*) AS n FROM (\(pastStates)) s GROUP BY facts"
}

extension DeliveryHistory {
    /// - Parameter time: nil reads the newest state.
    static func read(
        _ number: Int32, of document: BlastDocument, at time: PastTime?, on connection: PostgresConnection
    ) async throws -> DeliveryHistory {
        let history = try await read(number, of: document, on: connection)
        return time.map(history.at) ?? history
    }

    /// The delivery as it was at a time: later records, attempts and hits are left out.
    func at(_ time: PastTime) -> DeliveryHistory {
        let at = time.microseconds
        let known = timeline.lastIndex { $0.recordedAt <= at }.map { Array(timeline[...$0]) } ?? []
        let decision = decision.flatMap { $0.decidedAt <= at ? $0 : nil }
        return DeliveryHistory(
            recipient: recipient.at(known.last, decision: decision), timeline: known,
            attempts: attempts.compactMap { $0.at(at) }, decision: decision, hits: hits.filter { $0.at <= at })
    }
}

extension DeliveryHistory.Attempt {
    fileprivate func at(_ time: Int64) -> Self? {
        guard startedAt <= time else { return nil }
        guard let settledAt, settledAt > time else { return self }
        return Self(
            number: number, state: "wire", fact: nil, provider: nil, smtpCode: nil, enhancedCode: nil, reply: nil,
            startedAt: startedAt, settledAt: nil, nextAt: nil)
    }
}

extension RecipientRow {
    fileprivate func at(_ record: DeliveryHistory.Record?, decision: DeliveryHistory.Decision?) -> RecipientRow {
        var row = self
        row.facts = record?.facts ?? .initial
        row.attempts = record?.attempts ?? 0
        row.lastAttemptAt = record?.lastAttemptAt
        row.response = record?.response
        row.changedAt = record?.changedAt
        row.cause = decision?.detail ?? record?.evidence ?? fault
        return row
    }
}

extension RecipientQuery {
    /// The rows, or those of a past time. Runs inside the transaction that read `document` at that time.
    func run(_ document: BlastDocument, at time: PastTime?, on connection: PostgresConnection) async throws -> Page {
        guard let time else { return try await run(document, on: connection) }
        var parameters: [PostgresParameter] = [
            .uuid(document.id), .timestampMicroseconds(time.microseconds), .int4(after), .int(Int64(limit + 1)),
        ]
        var conditions = ""
        if let filter {
            let matching = document.counts.entries.filter { filter.matches($0.facts) }
            guard !matching.isEmpty else { return Page(rows: [], next: nil) }
            parameters.append(.int8Array(matching.map(\.facts.bits)))
            conditions += " AND coalesce(h.facts, 1) = ANY ($\(parameters.count))"
        }
        if let text, !text.isEmpty {
            parameters.append(.text(Self.pattern(containing: text)))
            let pattern = "$\(parameters.count)"
            conditions +=
                " AND (r.name ILIKE \(pattern) OR r.address ILIKE \(pattern) OR r.person_ref ILIKE \(pattern))"
        }
        let statement = Self.past(conditions)
        let rows = try await PastTime.bounded(on: connection) {
            try await connection.query(statement, parameters).map(RecipientRow.init)
        }
        let page = Array(rows.prefix(limit))
        return Page(rows: page, next: rows.count > limit ? page.last?.number : nil)
    }

    private static func past(_ conditions: String) -> String {
        """
        SELECT p.recipient_no, p.name, p.address, p.person_ref, p.school, p.facts, coalesce(l.attempts, 0) AS attempts,
               l.last_attempt_at, l.response, l.changed_at, p.fault_reason,
               coalesce(d.detail, l.evidence, p.fault_reason) AS cause
          FROM (SELECT r.*, coalesce(h.facts, 1) AS facts, h.part, h.seq
                  FROM recipient r
                  LEFT JOIN (\(BlastDocument.pastStates)) h ON h.recipient_no = r.recipient_no
                 WHERE r.blast_id = $1 AND r.recipient_no > $3\(conditions)
                 ORDER BY r.recipient_no LIMIT $4) p
          LEFT JOIN decision d ON d.blast_id = $1 AND d.recipient_no = p.recipient_no AND d.decided_at <= $2
          LEFT JOIN delivery_log l ON l.blast_id = $1 AND l.part = p.part AND l.seq = p.seq
         ORDER BY p.recipient_no
        """
    }
}
