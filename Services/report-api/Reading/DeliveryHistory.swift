import Delivery
import Postgres
import Runtime

/// Everything known about one delivery.
struct DeliveryHistory: Sendable {
    struct Record: Sendable {
        let seq: Int64
        /// Nil when the record changed no status: a further attempt, another answer.
        let fact: DeliveryFact?
        /// The state after this record.
        let facts: DeliveryFacts
        let source: String
        let eventID: String
        let occurredAt: Int64
        let recordedAt: Int64
        let attempts: Int32
        let lastAttemptAt: Int64?
        let response: String?
        let changedAt: Int64
        let evidence: String?
    }

    struct Attempt: Sendable {
        let number: Int32
        let state: String
        let fact: DeliveryFact?
        let provider: String?
        let smtpCode: Int32?
        let enhancedCode: String?
        let reply: String?
        let startedAt: Int64
        let settledAt: Int64?
        let nextAt: Int64?
    }

    struct Decision: Sendable {
        let fact: DeliveryFact?
        let rule: String
        let detail: String
        let originalBlast: BlastID?
        let originalRecipient: Int32?
        let decidedAt: Int64
    }

    struct Hit: Sendable {
        let kind: String
        let link: Int32?
        let url: String?
        let at: Int64
        let userAgent: String?
        let fact: DeliveryFact?
    }

    let recipient: RecipientRow
    /// In the order in which it became known.
    let timeline: [Record]
    let attempts: [Attempt]
    let decision: Decision?
    let hits: [Hit]

    private static let hitsMax: Int64 = 100

    static func read(_ number: Int32, of document: BlastDocument, on connection: PostgresConnection) async throws
        -> DeliveryHistory
    {
        let key: [PostgresParameter] = [.uuid(document.id), .int4(number)]
        guard let recipient = try await connection.query(findRecipient, key).first else {
            throw ReportProblems.noSuchRecipient
        }
        return DeliveryHistory(
            recipient: try RecipientRow(recipient),
            timeline: try await connection.query(walkTimeline, key).map(Record.init),
            attempts: try await connection.query(findAttempts, key).map(Attempt.init),
            decision: try await connection.query(findDecision, key).first.map(Decision.init),
            hits: try await connection.query(findHits, key + [.int(hitsMax)]).map(Hit.init))
    }

    private static let findRecipient = """
        SELECT \(RecipientRow.columns) FROM delivery_status s \(RecipientRow.joins)
         WHERE s.blast_id = $1 AND s.recipient_no = $2
        """

    /// A delivery's records are a chain from the newest back; no index by delivery is needed.
    private static let walkTimeline = """
        WITH RECURSIVE chain AS (
            SELECT l.*, 1 AS depth FROM delivery_status s
              JOIN delivery_log l ON l.blast_id = $1 AND l.part = s.part AND l.seq = s.last_seq
             WHERE s.blast_id = $1 AND s.recipient_no = $2
            UNION ALL
            SELECT l.*, c.depth + 1 FROM chain c
              JOIN delivery_log l ON l.blast_id = $1 AND l.part = c.part AND l.seq = c.prev_seq
             WHERE c.depth < 1000 AND l.recipient_no = $2
        )
        SELECT seq, fact, facts, source, event_id, occurred_at, recorded_at, attempts, last_attempt_at, response,
               changed_at, evidence
          FROM chain ORDER BY seq
        """

    private static let findAttempts = """
        SELECT attempt_no, state, fact, provider, smtp_code, enhanced_code, reply, wire_at, settled_at, next_at
          FROM attempt WHERE blast_id = $1 AND recipient_no = $2 ORDER BY attempt_no
        """

    private static let findDecision = """
        SELECT fact, rule, detail, original_blast_id, original_recipient_no, decided_at
          FROM decision WHERE blast_id = $1 AND recipient_no = $2
        """

    private static let findHits = """
        SELECT h.kind, h.link_no, k.url, h.at, h.user_agent, h.fact
          FROM tracking_hit h LEFT JOIN blast_link k ON k.blast_id = $1 AND k.link_no = h.link_no
         WHERE h.blast_id = $1 AND h.recipient_no = $2 ORDER BY h.at, h.hit_id LIMIT $3
        """
}

private func fact(_ row: PostgresRow) throws -> DeliveryFact? {
    try row.optionalInt("fact").flatMap(UInt8.init(exactly:)).flatMap(DeliveryFact.init(rawValue:))
}

extension DeliveryHistory.Record {
    fileprivate init(_ row: PostgresRow) throws {
        self.init(
            seq: try row.int("seq"), fact: try report_api.fact(row), facts: DeliveryFacts(bits: try row.int("facts")),
            source: try row.string("source"), eventID: try row.string("event_id"),
            occurredAt: try row.timestampMicroseconds("occurred_at"),
            recordedAt: try row.timestampMicroseconds("recorded_at"), attempts: try row.int32("attempts"),
            lastAttemptAt: try row.optionalTimestampMicroseconds("last_attempt_at"),
            response: try row.optionalString("response"), changedAt: try row.timestampMicroseconds("changed_at"),
            evidence: try row.optionalString("evidence"))
    }
}

extension DeliveryHistory.Attempt {
    fileprivate init(_ row: PostgresRow) throws {
        self.init(
            number: try row.int32("attempt_no"), state: try row.string("state"), fact: try report_api.fact(row),
            provider: try row.optionalString("provider"), smtpCode: try row.optionalInt32("smtp_code"),
            enhancedCode: try row.optionalString("enhanced_code"), reply: try row.optionalString("reply"),
            startedAt: try row.timestampMicroseconds("wire_at"),
            settledAt: try row.optionalTimestampMicroseconds("settled_at"),
            nextAt: try row.optionalTimestampMicroseconds("next_at"))
    }
}

extension DeliveryHistory.Decision {
    fileprivate init(_ row: PostgresRow) throws {
        self.init(
            fact: try report_api.fact(row), rule: try row.string("rule"), detail: try row.string("detail"),
            originalBlast: try row.optionalBlastID("original_blast_id"),
            originalRecipient: try row.optionalInt32("original_recipient_no"),
            decidedAt: try row.timestampMicroseconds("decided_at"))
    }
}

extension DeliveryHistory.Hit {
    fileprivate init(_ row: PostgresRow) throws {
        self.init(
            kind: try row.string("kind"), link: try row.optionalInt32("link_no"), url: try row.optionalString("url"),
            at: try row.timestampMicroseconds("at"), userAgent: try row.optionalString("user_agent"),
            fact: try report_api.fact(row))
    }
}
