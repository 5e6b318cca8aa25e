import Delivery
import Postgres
import Runtime

/// How many deliveries of a blast have exactly which facts. The sum is the audience, at every moment.
struct FactCounts: Sendable, Hashable {
    struct Entry: Sendable, Hashable {
        let facts: DeliveryFacts
        let n: Int64
    }

    let entries: [Entry]

    var total: Int64 { entries.reduce(0) { $0 + $1.n } }

    func count(where condition: (DeliveryFacts) -> Bool) -> Int64 {
        entries.reduce(0) { condition($1.facts) ? $0 + $1.n : $0 }
    }

    func count(with fact: DeliveryFact) -> Int64 { count { $0.contains(fact) } }

    /// The words of a reading in rank order, each with its number of deliveries.
    func words(in reading: StatusReading) -> [(word: String, n: Int64)] {
        var numbers: [String: Int64] = [:]
        for entry in entries { numbers[reading.word(for: entry.facts), default: 0] += entry.n }
        return reading.vocabulary.wordsInOrder.map { ($0, numbers[$0] ?? 0) }
    }
}

/// A blast as its report shows it: the document under its title, and where its deliveries stand.
struct BlastDocument: Sendable {
    enum State: String, Sendable {
        /// Not sent yet.
        case draft
        /// Ordered; a second person has to approve.
        case awaitingApproval = "awaiting_approval"
        /// Ordered for a later time.
        case scheduled
        case sending
        /// Everything is handed over or decided; results still arrive.
        case sent
        /// Nothing more is expected.
        case settled
    }

    let id: BlastID
    let title: BlastTitle
    var state: State
    let audience: Int64
    var counts: FactCounts
    let isEmergency: Bool
    let category: String
    let school: String?
    let fromAddress: String
    let fromName: String?
    let parent: BlastID?
    /// The follow-ups of this blast.
    let children: [String]
    var waiting: BlastWaiting
    let createdBy: String
    let createdAt: Int64
    /// When sending began; of a blast that still waits, when it was ordered.
    var sendRequestedAt: Int64?
    let orderedAt: Int64?
    let approvedAt: Int64?
    let needsApproval: Bool
    var pausedAt: Int64?
    var cancelledAt: Int64?
    var sendingEndedAt: Int64?
    var expiresAt: Int64?
    /// The time that the numbers are of.
    var asOf: Int64
    /// Whether a time was asked for, so that they are not the newest.
    var isPast = false
    let district: District

    /// Whom readers of its mail see; nil of text messages alone.
    var sender: String? {
        fromAddress.isEmpty ? nil : fromName.map { "\($0) <\(fromAddress)>" } ?? fromAddress
    }

    /// Deliveries of which more is to be expected.
    var open: Int64 { counts.count { !$0.isFinal } }

    static func read(_ id: BlastID, on connection: PostgresConnection) async throws -> BlastDocument {
        guard
            let row = try await connection.query(
                "\(selection) WHERE b.blast_id = $1", [.uuid(id)]
            ).first
        else { throw ReportProblems.noSuchBlast }
        return try BlastDocument(row)
    }

    /// Newest first; ids grow with time.
    static func page(before: BlastID?, limit: Int, on connection: PostgresConnection) async throws -> [BlastDocument] {
        let start = before ?? BlastID(high: .max, low: .max)
        return try await connection.query(
            """
            \(selection) WHERE b.blast_id < $1 AND b.district_id = current_district()
             ORDER BY b.blast_id DESC LIMIT $2
            """,
            [.uuid(start), .int(Int64(limit))]
        ).map(BlastDocument.init)
    }

    private static let selection = """
        SELECT b.blast_id, b.subject, b.channels, b.state, b.audience, b.class, b.category, b.school, b.from_address,
               b.from_name, b.parent_blast_id, b.created_by, b.created_at,
               greatest(b.send_requested_at, b.released_at) AS began_at, b.send_requested_at, b.approved_at,
               b.approval_until IS NOT NULL AS needs_approval, b.paused_at, b.cancelled_at,
               b.sending_ended_at, b.expires_at, transaction_timestamp() AS as_of, c.sets, c.numbers,
               \(District.columns), \(BlastWaiting.columns), \(BlastChildren.column)
          FROM blast b JOIN district d ON d.district_id = b.district_id
          LEFT JOIN LATERAL (
               SELECT array_agg(s.facts ORDER BY s.facts) AS sets, array_agg(s.n ORDER BY s.facts) AS numbers
                 FROM (SELECT facts, sum(n)::bigint AS n FROM blast_count WHERE blast_id = b.blast_id
                        GROUP BY facts HAVING sum(n) <> 0) s) c ON true
        """

    private init(_ row: PostgresRow) throws {
        id = try row.blastID("blast_id")
        title = BlastTitle(
            try row.string("subject"), channels: try row.textArray("channels").compactMap(\.self))
        audience = try row.int("audience")
        let sets = try row.optionalInt8Array("sets") ?? []
        let numbers = try row.optionalInt8Array("numbers") ?? []
        counts = FactCounts(
            entries: zip(sets, numbers).map { FactCounts.Entry(facts: DeliveryFacts(bits: $0 ?? 1), n: $1 ?? 0) })
        state =
            switch try row.string("state") {
            case "draft": .draft
            case "awaiting_approval": .awaitingApproval
            case "scheduled": .scheduled
            case "sent": counts.entries.allSatisfy(\.facts.isFinal) ? .settled : .sent
            default: .sending
            }
        isEmergency = try row.string("class") == "emergency"
        category = try row.string("category")
        school = try row.optionalString("school")
        fromAddress = try row.string("from_address")
        fromName = try row.optionalString("from_name")
        parent = try row.optionalBlastID("parent_blast_id")
        children = try row.textArray("children").compactMap(\.self)
        waiting = try BlastWaiting(row)
        createdBy = try row.string("created_by")
        createdAt = try row.timestampMicroseconds("created_at")
        sendRequestedAt = try row.optionalTimestampMicroseconds("began_at")
        orderedAt = try row.optionalTimestampMicroseconds("send_requested_at")
        approvedAt = try row.optionalTimestampMicroseconds("approved_at")
        needsApproval = try row.bool("needs_approval")
        pausedAt = try row.optionalTimestampMicroseconds("paused_at")
        cancelledAt = try row.optionalTimestampMicroseconds("cancelled_at")
        sendingEndedAt = try row.optionalTimestampMicroseconds("sending_ended_at")
        expiresAt = try row.optionalTimestampMicroseconds("expires_at")
        asOf = try row.timestampMicroseconds("as_of")
        district = try District(row)
    }
}

/// The tenant's own settings.
struct District: Sendable {
    let name: String
    let timeZone: String
    /// How its reports read the facts.
    let reading: StatusReading

    /// Of `d`, a row of `district`.
    static let columns = "d.name AS district_name, d.time_zone, d.vocabulary, d.late_bounce, d.opens"

    init(_ row: PostgresRow) throws {
        name = try row.string("district_name")
        timeZone = try row.string("time_zone")
        reading = StatusReading(
            StatusVocabulary.named(try row.string("vocabulary")) ?? .canonical,
            lateBounce: StatusReading.LateBounce(rawValue: try row.string("late_bounce")) ?? .frozen,
            opens: StatusReading.Opens(rawValue: try row.string("opens")) ?? .human)
    }

    static func read(on connection: PostgresConnection) async throws -> District {
        guard
            let row = try await connection.query(
                """
                SELECT \(columns) FROM district d WHERE d.district_id = current_district()
                """
            ).first
        else { throw ReportProblems.unauthorized }
        return try District(row)
    }
}
