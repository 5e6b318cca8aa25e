import Contracts
import Delivery
import Postgres
import Runtime

/// What sending a draft now would decide for each recipient, without sending anything.
///
/// Asks the guard's own rules and renders every message as the hand-over would. Limits: what is learned, and what other
/// blasts hand over, between now and sending is not known; of more than 50 recipients with one address, only the first 50
/// are compared for `address+content`.
struct DryRun: Sendable {
    static let pageSize: Int32 = 1_000

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    struct Line: Encodable, Sendable {
        let recipient_no: Int32
        let line: Int64
        let channel: String
        let address: String
        let name: String?
        let person_ref: String?
        /// `send`, or the status that the recipient would get.
        let decision: String
        /// The deciding check's answer, in words.
        let reason: String?
        /// Every check's answer: `ok` or what it found.
        let checks: [String: String]
        /// The earlier delivery of a duplicate.
        let original: String?
        /// Names in the templates for which this recipient has no value.
        let empty_fields: [String]
    }

    let blast: BlastID
    let caller: Caller
    let pool: PostgresPool

    private static let page = """
        SELECT r.recipient_no, r.line_no, r.channel, r.address, coalesce(r.address_hash, '') AS address_hash, r.name,
               r.person_ref, r.person_kind, r.school, r.locale, r.fields::text AS fields,
               s.fact, s.detail, s.original_blast_id, s.original_recipient_no, s.rules
          FROM dry_run_screening($1, $2, $3, $4) s
          JOIN recipient r ON r.blast_id = $1 AND r.recipient_no = s.recipient_no
         ORDER BY r.recipient_no
        """
    private static let claims = """
        SELECT recipient_no, original_blast_id, original_recipient_no,
               local_time(at, (SELECT time_zone FROM district WHERE district_id = current_district())) AS sent_at
          FROM dry_run_claims($1, $2, $3)
        """

    /// The recipients further up with the same address whom the rules let through: whose message may read the same.
    private static let earlier = """
        SELECT r.recipient_no AS later_no, e.recipient_no, e.address, e.address_hash, e.name, e.person_ref, e.person_kind,
               e.school, e.locale, e.fields::text AS fields
          FROM recipient r
          JOIN LATERAL (SELECT * FROM recipient o
                         WHERE o.blast_id = $1 AND o.address_hash = r.address_hash AND o.recipient_no < r.recipient_no
                         ORDER BY o.recipient_no LIMIT 50) e ON true
          JOIN LATERAL dry_run_screening($1, e.recipient_no, e.recipient_no, NULL) s ON s.fact IS NULL
         WHERE r.blast_id = $1 AND r.recipient_no = ANY ($2)
         ORDER BY r.recipient_no, e.recipient_no
        """

    /// What all pages share.
    struct Basis: Sendable {
        let document: BlastDocument
        let template: MessageTemplate
        let tags: Set<String>
        let commonContent: [UInt8]?
        let audience: Int32
        /// Equal messages within the blast are found by their content.
        let comparesContent: Bool
    }

    func basis() async throws -> Basis {
        try await pool.withDistrict(caller.district) { connection in
            let resource = try await BlastStore.read(blast, on: connection)
            guard resource.state == "draft" else {
                throw IntakeProblems.conflict(
                    "not-a-draft", "The blast is not a draft",
                    "The blast is \(resource.state); its report says what was decided.")
            }
            let document = try await DraftMessage.document(
                resource, of: blast, district: caller.district, on: connection)
            let tags = try resource.tags()
            return Basis(
                document: document, template: try document.template.get(), tags: tags,
                commonContent: DraftMessage.commonContent(document, tags: tags),
                audience: Int32(clamping: resource.audience),
                comparesContent: resource.dedupe_key == "address+content" && resource.class != "emergency"
                    && resource.parent_blast_id == nil)
        }
    }

    /// The recipients `first` and a page of those behind it.
    func lines(from first: Int32, _ basis: Basis) async throws -> [Line] {
        try await pool.withDistrict(caller.district) { connection in
            let rows = try await connection.query(
                Self.page,
                [.uuid(blast), .int4(first), .int4(first + Self.pageSize - 1), .bytes(basis.commonContent)])
            var judged: [Judged] = []
            for row in rows { judged.append(try judge(row, basis)) }
            let asked = judged.filter { $0.fact == nil && $0.content != nil }
            var claims: [Int32: Claim] = [:]
            if basis.comparesContent, !asked.isEmpty { claims = try await originals(of: asked, basis, on: connection) }
            if !asked.isEmpty {
                for row in try await connection.query(
                    Self.claims,
                    [.uuid(blast), .int4Array(asked.map(\.recipient.number)), .byteaArray(asked.map(\.content))])
                {
                    let original = DeliveryID(
                        blast: try row.blastID("original_blast_id"),
                        recipientNumber: try row.int32("original_recipient_no"))
                    claims[try row.int32("recipient_no")] = Claim(
                        original: "\(original)",
                        reason: "The same message was sent to this address at \(try row.string("sent_at")).")
                }
            }
            return judged.map { $0.line(claims[$0.recipient.number]) }
        }
    }

    /// Who gets word for word what an earlier recipient with the same address gets.
    private func originals(
        of asked: [Judged], _ basis: Basis, on connection: PostgresConnection
    ) async throws -> [Int32: Claim] {
        let contents = Dictionary(uniqueKeysWithValues: asked.map { ($0.recipient.number, $0.content) })
        var claims: [Int32: Claim] = [:]
        for row in try await connection.query(
            Self.earlier, [.uuid(blast), .int4Array(asked.map(\.recipient.number))])
        {
            let later = try row.int32("later_no")
            let earlier = try Recipient(row)
            let rendered = basis.template.render(MergeFields.values(of: earlier))
            guard claims[later] == nil,
                MessageComposer.contentHash(rendered, earlier, basis.document) == contents[later]
            else { continue }
            claims[later] = Claim(
                original: "\(DeliveryID(blast: blast, recipientNumber: earlier.number))",
                reason: "Recipient \(earlier.number) of this blast has the same address and gets the same message.")
        }
        return claims
    }

    /// An earlier message that reads the same.
    private struct Claim {
        let original: String
        let reason: String
    }

    private func judge(_ row: PostgresRow, _ basis: Basis) throws -> Judged {
        let recipient = try Recipient(row)
        let fact = try row.optionalInt("fact").flatMap { UInt8(exactly: $0) }.flatMap(DeliveryFact.init(rawValue:))
        let values = MergeFields.values(of: recipient)
        var content: [UInt8]?
        if fact == nil, basis.commonContent == nil {
            content = MessageComposer.contentHash(basis.template.render(values), recipient, basis.document)
        }
        var original: String?
        if let blast = try row.optionalBlastID("original_blast_id"),
            let number = try row.optionalInt32("original_recipient_no")
        {
            original = "\(DeliveryID(blast: blast, recipientNumber: number))"
        }
        return Judged(
            recipient: recipient, row: try row.int("line_no"), channel: try row.string("channel"), fact: fact,
            detail: try row.optionalString("detail"), rules: try row.textArray("rules").compactMap(\.self),
            original: original, content: content,
            emptyFields: basis.tags.filter { (values[$0] as? String)?.utf8.isEmpty != false }.sorted())
    }

    private struct Judged {
        let recipient: Recipient
        let row: Int64
        let channel: String
        let fact: DeliveryFact?
        let detail: String?
        let rules: [String]
        let original: String?
        let content: [UInt8]?
        let emptyFields: [String]

        func line(_ claim: Claim?) -> Line {
            var checks = [
                "address": "ok", "consent": "ok", "category": "ok", "opt_out": "ok", "blacklist": "ok",
                "duplicate_address": "ok", "duplicate_content": "ok",
            ]
            for rule in rules {
                switch rule {
                case "no_address", "address_syntax": checks["address"] = rule
                case "consent": checks["consent"] = "refused"
                case "category": checks["category"] = "not_selected"
                case "opt_out": checks["opt_out"] = "opted_out"
                case "duplicate_address", "duplicate_content": checks[rule] = "duplicate"
                default: checks["blacklist"] = rule
                }
            }
            if claim != nil { checks["duplicate_content"] = "duplicate" }
            let decided = fact ?? (claim == nil ? nil : .duplicate)
            return Line(
                recipient_no: recipient.number, line: row, channel: channel, address: recipient.address,
                name: recipient.name, person_ref: recipient.personReference, decision: decided?.name ?? "send",
                reason: detail ?? claim?.reason,
                checks: checks, original: original ?? claim?.original, empty_fields: emptyFields)
        }
    }
}

/// Counts of what the rules say about a whole draft, without rendering.
struct DryRunCounts: Sendable {
    private static let slice: Int32 = 20_000
    private static let count = """
        SELECT fact, count(*) AS n FROM dry_run_screening($1, $2, $3, $4) GROUP BY fact
        """

    /// By status, with `send` for those who would get the message.
    static func read(
        _ blast: BlastID, audience: Int32, commonContent: [UInt8]?, on connection: PostgresConnection
    ) async throws -> [String: Int64] {
        var counts: [String: Int64] = ["send": 0]
        var first: Int32 = 1
        while first <= audience {
            let last = min(audience, first + slice - 1)
            for row in try await connection.query(
                count, [.uuid(blast), .int4(first), .int4(last), .bytes(commonContent)])
            {
                let fact = try row.optionalInt("fact").flatMap { UInt8(exactly: $0) }
                    .flatMap(DeliveryFact.init(rawValue:))
                counts[fact?.name ?? "send", default: 0] += try row.int("n")
            }
            first = last + 1
        }
        return counts
    }
}
