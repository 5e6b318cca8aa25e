import Delivery
import Postgres
import Runtime

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
/// What sending a blast will mean, before it is sent.
struct BlastSummary: Encodable, Sendable {
    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    struct Field: Encodable, Sendable {
        let name: String
        /// False: no column of the list has it, and the blast cannot be sent.
        let on_list: Bool
        /// Usable recipients for whom it is empty.
        let empty: Int64
    }

    let blast_id: String
    let state: String
    let `class`: String
    let from: BlastResource.From?
    let subject: String
    let audience: Int64
    /// Recipients that no message can reach, with the reason in the report.
    let invalid: Int64
    let no_address: Int64
    /// Recipients whose address stands further up on the list.
    let duplicates: Int64
    /// When a second message to an address is left out (K-03).
    let dedupe_key: String
    /// What the guard's rules say now: status and number, `send` for those who would get the message.
    let decisions: [String: Int64]
    /// False when messages differ between recipients: then who had the same content lately is known at hand-over only.
    let content_checked: Bool
    let tracked: Bool
    let attachments: Int64
    /// Of a blast that goes by SMS.
    let sms: TextMessageTotals?
    let fields: [Field]
    let missing_fields: [String]
    /// What staff should look at before they send.
    let warnings: [Warning]

    struct Warning: Encodable, Sendable {
        let kind: String
        let detail: String
    }

    private static let counts = """
        SELECT count(*) FILTER (WHERE fault = 14) AS invalid, count(*) FILTER (WHERE fault = 6) AS no_address,
               count(address_hash) - count(DISTINCT address_hash) AS duplicates
          FROM recipient WHERE blast_id = $1
        """
    private static let emptyFields = """
        SELECT f.name, count(*) FILTER (WHERE CASE f.name WHEN 'email' THEN r.address WHEN 'name' THEN r.name
                   WHEN 'person_ref' THEN r.person_ref WHEN 'person_kind' THEN r.person_kind
                   WHEN 'school' THEN r.school WHEN 'locale' THEN r.locale ELSE r.fields ->> f.name END
                   IS NULL) AS empty
          FROM recipient r CROSS JOIN unnest($2::text[]) AS f (name)
         WHERE r.blast_id = $1 AND r.fault IS NULL GROUP BY f.name
        """

    static func read(
        _ blast: BlastID, by caller: Caller, composer: MessageComposer, pool: PostgresPool
    ) async throws -> BlastSummary {
        try await pool.withDistrict(caller.district) { connection in
            let document = try await BlastStore.read(blast, on: connection)
            let tags = try document.tags().sorted()
            var empty: [String: Int64] = [:]
            for row in try await connection.query(emptyFields, [.uuid(blast), .textArray(tags)]) {
                empty[try row.string("name")] = try row.int("empty")
            }
            let rows = try await connection.query(counts, [.uuid(blast)])
            guard let row = rows.first else { throw IntakeProblems.noSuchBlast }
            let fields = tags.map {
                Field(name: $0, on_list: document.fields.contains($0), empty: empty[$0] ?? 0)
            }
            let message = try await DraftMessage.document(
                document, of: blast, district: caller.district, on: connection)
            let content = DraftMessage.commonContent(message, tags: Set(tags))
            let settings = try await connection.query(settings, [.uuid(blast)])
            let sms = try await TextMessageTotals.read(
                document, message, of: blast, composer: composer, on: connection)
            return BlastSummary(
                blast_id: document.blast_id, state: document.state, class: document.class, from: document.from,
                subject: document.subject, audience: document.audience, invalid: try row.int("invalid"),
                no_address: try row.int("no_address"), duplicates: try row.int("duplicates"),
                dedupe_key: document.dedupe_key,
                decisions: document.state == "draft"
                    ? try await DryRunCounts.read(
                        blast, audience: Int32(clamping: document.audience), commonContent: content, on: connection)
                    : [:],
                content_checked: content != nil, tracked: try settings.first?.bool("tracked") ?? true,
                attachments: try settings.first?.int("attachments") ?? 0, sms: sms, fields: fields,
                missing_fields: fields.filter { !$0.on_list }.map(\.name),
                warnings: try await warnings(document, isExempt: settings.first?.bool("exempt") == true, on: connection)
                    + (sms?.warnings ?? []))
        }
    }

    private static func warnings(
        _ document: BlastResource, isExempt: Bool, on connection: PostgresConnection
    ) async throws -> [Warning] {
        guard let from = document.from else { return [] }
        var warnings: [Warning] = []
        let recent = try await connection.query(recentSenders, [.text(document.blast_id)])
        let known = try recent.map { try $0.string("from_address") }
        if let last = known.first, !known.contains(where: { $0.utf8.elementsEqual(from.address.utf8) }) {
            warnings.append(
                Warning(
                    kind: "from-differs",
                    detail:
                        "The From address differs from that of the last \(known.count) blasts, \(last). Readers and "
                        + "mail providers trust senders who do not change (S-17)."))
        }
        if from.name == nil {
            warnings.append(
                Warning(kind: "no-sender-name", detail: "No sender name is given; readers see only the address."))
        }
        let names = try [document.html, document.text].compactMap(\.self).reduce(into: Set<String>()) {
            $0.formUnion(try TemplateTags($1).names)
        }
        if document.class != "emergency", !isExempt, !names.contains(PersonalLink.unsubscribe.rawValue) {
            warnings.append(
                Warning(
                    kind: "no-unsubscribe-link",
                    detail:
                        "No template has {{unsubscribe_url}}; readers can unsubscribe only where their mail program "
                        + "shows it."))
        }
        return warnings
    }

    private static let recentSenders = """
        SELECT from_address FROM blast
         WHERE send_requested_at IS NOT NULL AND from_address <> '' AND blast_id <> $1::text::uuid
         ORDER BY send_requested_at DESC LIMIT 5
        """
    private static let settings = """
        SELECT NOT district_decided(b.district_id, 'tracking_off') AS tracked,
               district_decided(b.district_id, 'unsubscribe_exempt', b.category) AS exempt,
               (SELECT count(*) FROM blast_attachment a WHERE a.blast_id = b.blast_id) AS attachments
          FROM blast b WHERE b.blast_id = $1
        """
}
