import Contracts
import Delivery
import HTTPTypes
import Postgres
import Runtime

// What is asked of a blast between its order and its first message.
extension BlastStore {
    /// Lets a blast go that waits for a second person.
    ///
    /// - Throws: `Problem` 403 for whoever ordered it, by the key or by its label; 409 unless it waits.
    func approve(_ blast: BlastID, by caller: Caller) async throws -> BlastResource {
        try await pool.withDistrict(caller.district) { connection in
            let document = try await Self.lock(blast, on: connection)
            if document.approved_by == caller.label { return document }
            let rows = try await connection.query(
                "SELECT waits, is_other FROM approve_blast($1, $2, $3)",
                [.uuid(blast), .text(caller.label), .text(caller.keyID)])
            guard let row = rows.first, try row.bool("waits") else {
                throw IntakeProblems.conflict(
                    "not-awaiting-approval", "The blast waits for no approval",
                    "The blast is \(document.state)\(document.cancelled_at == nil ? "" : " and cancelled")"
                        + "\(document.state == "awaiting_approval" ? ", and the time for its approval is over" : "").")
            }
            guard try row.bool("is_other") else {
                throw Problem(
                    "second-person-needed", title: "Somebody else has to approve", status: .forbidden,
                    detail: "The blast was ordered by \(document.requested_by ?? "you"). Its approval needs another "
                        + "person's key.")
            }
            return try await Self.read(blast, on: connection)
        }
    }

    /// Sets when a blast that is not being sent yet is to be sent; nil means as soon as it may.
    ///
    /// - Throws: `Problem` 409 once sending has begun or the blast has ended, or when its `not_after` would come first.
    func schedule(_ blast: BlastID, at sendAt: Int64?, by caller: Caller) async throws -> BlastResource {
        try await pool.withDistrict(caller.district) { connection in
            let document = try await Self.lock(blast, on: connection)
            guard ["draft", "awaiting_approval", "scheduled"].contains(document.state), document.cancelled_at == nil
            else {
                throw IntakeProblems.conflict(
                    "sending-began", "The blast cannot be scheduled",
                    document.cancelled_at == nil
                        ? "The blast is \(document.state); its time can no longer be changed."
                        : "The blast is cancelled.")
            }
            if let sendAt, let notAfter = document.not_after, let limit = Timestamp.microseconds(notAfter),
                limit <= sendAt
            {
                throw IntakeProblems.members([
                    MemberFault(field: "send_at", reason: "is not before the blast's not_after, \(notAfter)")
                ])
            }
            _ = try await connection.query(
                """
                UPDATE blast SET send_at = CASE WHEN state = 'scheduled' THEN coalesce($2, clock_timestamp()) ELSE $2 END
                 WHERE blast_id = $1
                """, [.uuid(blast), .timestampMicroseconds(sendAt)])
            return try await Self.read(blast, on: connection)
        }
    }
}
