import Contracts
import Delivery
import Postgres

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
/// A blast as its sender sees it.
struct BlastResource: Encodable, Sendable {
    struct From: Encodable, Sendable {
        let address: String
        let name: String?
    }

    let blast_id: String
    let title: String
    /// draft, sending or sent; `paused_at` and `cancelled_at` say more about sending.
    let state: String
    let audience: Int64
    let subject: String
    let html: String?
    let text: String?
    let from: From
    let reply_to: String?
    let channel: String
    let category: String
    let `class`: String
    let school: String?
    let in_doubt_policy: String
    let dedupe_address: Bool
    let parent_blast_id: String?
    let fields: [String]
    let created_by: String
    let created_at: String
    let not_after: String?
    let send_requested_at: String?
    let paused_at: String?
    let cancelled_at: String?
    let sending_ended_at: String?

    static let columns = """
        blast_id, state, audience, subject, html_template, text_template, from_address, from_name, reply_to, channel,
        category, class, school, in_doubt_policy, dedupe_address, parent_blast_id, fields, created_by, created_at,
        not_after, send_requested_at, paused_at, cancelled_at, sending_ended_at
        """

    init(_ row: PostgresRow) throws {
        func time(_ column: String) throws -> String? {
            try row.optionalTimestampMicroseconds(column).map { Timestamp.string(microseconds: $0) }
        }
        blast_id = try row.string("blast_id")
        subject = try row.string("subject")
        title = "Email Blast :: \(subject)"
        state = try row.string("state")
        audience = try row.int("audience")
        html = try row.optionalString("html_template")
        text = try row.optionalString("text_template")
        from = From(address: try row.string("from_address"), name: try row.optionalString("from_name"))
        reply_to = try row.optionalString("reply_to")
        channel = try row.string("channel")
        category = try row.string("category")
        `class` = try row.string("class")
        school = try row.optionalString("school")
        in_doubt_policy = try row.string("in_doubt_policy")
        dedupe_address = try row.bool("dedupe_address")
        parent_blast_id = try row.optionalString("parent_blast_id")
        fields = try row.textArray("fields").compactMap(\.self)
        created_by = try row.string("created_by")
        created_at = try time("created_at") ?? ""
        not_after = try time("not_after")
        send_requested_at = try time("send_requested_at")
        paused_at = try time("paused_at")
        cancelled_at = try time("cancelled_at")
        sending_ended_at = try time("sending_ended_at")
    }

    /// The names that the templates use.
    func tags() throws -> Set<String> {
        var names: Set<String> = []
        for template in [subject, html, text] {
            if let template { names.formUnion(try TemplateTags(template).names) }
        }
        return names
    }
}
