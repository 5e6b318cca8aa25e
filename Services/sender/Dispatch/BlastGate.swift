/// When a blast `b` may hand over, as conditions for the statements that ask.
///
/// WIRE decides with them at the last moment; the queues ask the same, so that nobody prepares what cannot go out.
enum BlastGate {
    /// Nothing more is handed over, and everybody who is left is told that it was cancelled.
    static let hasEnded = """
        (b.cancelled_at IS NOT NULL OR coalesce(b.not_after <= clock_timestamp(), false)
         OR b.approval_until IS NOT NULL AND b.approved_at IS NULL)
        """

    /// Why `hasEnded`, or null.
    static let endReason = """
        CASE WHEN b.cancelled_at IS NOT NULL THEN 'the blast was cancelled'
             WHEN b.not_after <= clock_timestamp() THEN 'the time after which it was not to be sent has passed'
             WHEN b.approval_until IS NOT NULL AND b.approved_at IS NULL THEN 'nobody approved the blast in time'
        END
        """

    /// Everything waits, and no status changes: paused by its sender, by the breaker or by the operators, or it is
    /// quiet time in the district. An emergency waits for its own sender, and for operators who stopped emergencies too.
    static let isHeld = """
        (b.paused_at IS NOT NULL
         OR b.is_held
         OR EXISTS (SELECT FROM operator_pause o
                     WHERE o.ended_at IS NULL AND (o.includes_emergency OR b.class <> 'emergency'))
         OR b.class <> 'emergency' AND EXISTS (SELECT FROM quiet_district q WHERE q.district_id = b.district_id))
        """

    /// When sending began.
    static let began = "greatest(b.send_requested_at, b.released_at)"
}
