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
    /// draft, awaiting_approval, scheduled, sending or sent; `paused_at`, `held_at` and `cancelled_at` say more about
    /// sending.
    let state: String
    let audience: Int64
    let subject: String
    let html: String?
    let text: String?
    /// Nil of a blast that goes by text message alone, when none was given.
    let from: From?
    let reply_to: String?
    let channels: [String]
    let category: String
    let `class`: String
    let school: String?
    let in_doubt_policy: String
    let dedupe_key: String
    let answers: [String]
    let parent_blast_id: String?
    let fields: [String]
    let created_by: String
    let created_at: String
    let send_at: String?
    let not_after: String?
    let send_requested_at: String?
    let requested_by: String?
    let approval_until: String?
    let approved_at: String?
    let approved_by: String?
    let paused_at: String?
    /// Stopped by the breaker, and why, until somebody resumes it.
    let held_at: String?
    let held_reason: String?
    /// Quiet hours of the district: it waits until then, or will when its time has come.
    let quiet_until: String?
    /// Why the operators paused all sending.
    let operator_pause: String?
    let cancelled_at: String?
    let sending_ended_at: String?

    /// Of `blast`.
    static let columns = """
        blast_id, state, audience, subject, html_template, text_template, from_address, from_name, reply_to, channels,
        category, class, school, in_doubt_policy, dedupe_key, answers, parent_blast_id, fields, created_by, created_at,
        send_at, not_after, send_requested_at, requested_by, approval_until, approved_at, approved_by, paused_at,
        CASE WHEN is_held THEN held_at END AS held_at, held_reason, blast_quiet_until(blast) AS quiet_until,
        blast_operator_pause(blast) AS operator_pause, cancelled_at, sending_ended_at
        """

    init(_ row: PostgresRow) throws {
        func time(_ column: String) throws -> String? {
            try row.optionalTimestampMicroseconds(column).map { Timestamp.string(microseconds: $0) }
        }
        blast_id = try row.string("blast_id")
        subject = try row.string("subject")
        state = try row.string("state")
        audience = try row.int("audience")
        html = try row.optionalString("html_template")
        text = try row.optionalString("text_template")
        let address = try row.string("from_address")
        from = address.isEmpty ? nil : From(address: address, name: try row.optionalString("from_name"))
        reply_to = try row.optionalString("reply_to")
        channels = try row.textArray("channels").compactMap(\.self)
        title = BlastTitle(subject, channels: channels).text
        category = try row.string("category")
        `class` = try row.string("class")
        school = try row.optionalString("school")
        in_doubt_policy = try row.string("in_doubt_policy")
        dedupe_key = try row.string("dedupe_key")
        answers = try row.textArray("answers").compactMap(\.self)
        parent_blast_id = try row.optionalString("parent_blast_id")
        fields = try row.textArray("fields").compactMap(\.self)
        created_by = try row.string("created_by")
        created_at = try time("created_at") ?? ""
        send_at = try time("send_at")
        not_after = try time("not_after")
        send_requested_at = try time("send_requested_at")
        requested_by = try row.optionalString("requested_by")
        approval_until = try time("approval_until")
        approved_at = try time("approved_at")
        approved_by = try row.optionalString("approved_by")
        paused_at = try time("paused_at")
        held_at = try time("held_at")
        held_reason = held_at == nil ? nil : try row.optionalString("held_reason")
        quiet_until = try time("quiet_until")
        operator_pause = try row.optionalString("operator_pause")
        cancelled_at = try time("cancelled_at")
        sending_ended_at = try time("sending_ended_at")
    }

    /// The names of merge fields that the templates use.
    func tags() throws -> Set<String> {
        var names: Set<String> = []
        for template in [subject, html, text] {
            if let template { names.formUnion(try TemplateTags(template).names) }
        }
        return names.subtracting(PersonalLink.names)
    }
}
