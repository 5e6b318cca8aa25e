import Delivery
import Postgres
import Runtime

/// What a blast waits for, as of now.
struct BlastWaiting: Sendable {
    let sendAt: Int64?
    let requestedBy: String?
    let requestedByKey: String?
    let approvalUntil: Int64?
    /// Stopped by the breaker, and why.
    let heldAt: Int64?
    let heldReason: String?
    /// It is quiet time in the district until then, or will be when its time has come.
    let quietUntil: Int64?
    /// Why the operators paused all sending.
    let operatorReason: String?
    /// Nothing could be handed over since then, for so long that the operators were told.
    let stalledSince: Int64?

    /// Of `b`, a row of `blast`.
    static let columns = """
        b.send_at, b.requested_by, b.requested_by_key, CASE WHEN b.approved_at IS NULL THEN b.approval_until END AS approval_until,
        CASE WHEN b.is_held THEN b.held_at END AS held_at, b.held_reason,
        blast_quiet_until(b) AS quiet_until, blast_operator_pause(b) AS operator_reason,
        CASE WHEN b.state = 'sending' AND b.stall_reported_at >= b.idle_since THEN b.idle_since END AS stalled_since
        """

    /// Of a report of the past: what it waited for then is not kept.
    static let unknown = BlastWaiting()

    private init() {
        requestedByKey = nil
        (sendAt, requestedBy, approvalUntil, heldAt, heldReason) = (nil, nil, nil, nil, nil)
        (quietUntil, operatorReason, stalledSince) = (nil, nil, nil)
    }

    init(_ row: PostgresRow) throws {
        sendAt = try row.optionalTimestampMicroseconds("send_at")
        requestedBy = try row.optionalString("requested_by")
        requestedByKey = try row.optionalString("requested_by_key")
        approvalUntil = try row.optionalTimestampMicroseconds("approval_until")
        heldAt = try row.optionalTimestampMicroseconds("held_at")
        heldReason = heldAt == nil ? nil : try row.optionalString("held_reason")
        quietUntil = try row.optionalTimestampMicroseconds("quiet_until")
        operatorReason = try row.optionalString("operator_reason")
        stalledSince = try row.optionalTimestampMicroseconds("stalled_since")
    }
}

/// The follow-ups of a blast that were ordered, oldest first.
enum BlastChildren {
    /// Of `b`, a row of `blast`.
    static let column = """
        (SELECT coalesce(array_agg(k.blast_id::text ORDER BY k.blast_id), '{}')
           FROM blast k WHERE k.parent_blast_id = b.blast_id AND k.state <> 'draft') AS children
        """
}
