import Delivery
import Mail
import Postgres
import Runtime

/// The rows of blasts, one district at a time.
struct BlastStore: Sendable {
    let pool: PostgresPool

    private static let insertion = """
        INSERT INTO blast (blast_id, district_id, subject, html_template, text_template, from_address, from_name,
                           reply_to, category, class, school, in_doubt_policy, dedupe_key, send_at, not_after,
                           parent_blast_id, created_by, answers, channels)
        VALUES (mint_blast_id(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
        RETURNING \(BlastResource.columns)
        """

    func create(_ draft: BlastDraft, by caller: Caller) async throws -> BlastResource {
        try await pool.withDistrict(caller.district) { connection in
            if let parent = draft.parent {
                let rows = try await connection.query("SELECT 1 FROM blast WHERE blast_id = $1", [.uuid(parent)])
                guard !rows.isEmpty else {
                    throw IntakeProblems.members([
                        MemberFault(field: "parent_blast_id", reason: "is not a blast of this district")
                    ])
                }
            }
            return try await Self.insert(draft, by: caller, on: connection)
        }
    }

    /// Inside a transaction of the district.
    static func insert(
        _ draft: BlastDraft, by caller: Caller, on connection: PostgresConnection
    ) async throws -> BlastResource {
        try document(
            await connection.query(
                insertion,
                [
                    .int(caller.district), .text(draft.subject), .text(draft.html), .text(draft.text),
                    .text(draft.from?.wireForm ?? ""), .text(draft.fromName), .text(draft.replyTo?.wireForm),
                    .text(draft.category), .text(draft.blastClass), .text(draft.school), .text(draft.inDoubtPolicy),
                    .text(draft.dedupeKey), .timestampMicroseconds(draft.sendAtMicroseconds),
                    .timestampMicroseconds(draft.notAfterMicroseconds),
                    .uuid(draft.parent), .text(caller.label), .textArray(draft.answers), .textArray(draft.channels),
                ]))
    }

    func read(_ blast: BlastID, by caller: Caller) async throws -> BlastResource {
        try await pool.withDistrict(caller.district) { try await Self.read(blast, on: $0) }
    }

    /// - Throws: `Problem` 409 unless the blast is a draft.
    func deleteDraft(_ blast: BlastID, by caller: Caller) async throws {
        try await pool.withDistrict(caller.district) { connection in
            _ = try await Self.read(blast, on: connection)
            try await Self.keepList(of: blast, on: connection)
            let document = try await Self.lock(blast, on: connection)
            guard document.state == "draft" else {
                throw IntakeProblems.conflict(
                    "not-a-draft", "The blast is not a draft",
                    "Only a draft can be deleted; this blast is \(document.state).")
            }
            try await Self.deleteStatuses(of: blast, on: connection)
            _ = try await connection.query("DELETE FROM recipient WHERE blast_id = $1", [.uuid(blast)])
            _ = try await connection.query("DELETE FROM blast WHERE blast_id = $1", [.uuid(blast)])
        }
    }

    enum Control: String {
        case cancel, pause, resume

        var assignment: String {
            switch self {
            case .cancel: "cancelled_at = coalesce(cancelled_at, clock_timestamp())"
            case .pause: "paused_at = coalesce(paused_at, clock_timestamp())"
            case .resume: "paused_at = NULL, resumed_at = clock_timestamp()"
            }
        }
    }

    /// Cancels, pauses or resumes sending, which may not have begun yet. Repeating it changes nothing.
    func control(_ blast: BlastID, _ control: Control, by caller: Caller) async throws -> BlastResource {
        try await pool.withDistrict(caller.district) { connection in
            let document = try await Self.lock(blast, on: connection)
            if !["awaiting_approval", "scheduled", "sending"].contains(document.state) {
                let advice =
                    document.state == "draft" ? " Delete the draft instead." : " Nothing is left to \(control)."
                throw IntakeProblems.conflict(
                    "not-sending", "The blast is not being sent", "The blast is \(document.state).\(advice)")
            }
            if document.cancelled_at != nil, control != .cancel {
                throw IntakeProblems.conflict(
                    "cancelled", "The blast is cancelled", "A cancelled blast cannot be paused or resumed.")
            }
            let rows = try await connection.query(
                "UPDATE blast SET \(control.assignment) WHERE blast_id = $1 RETURNING \(BlastResource.columns)",
                [.uuid(blast)])
            return try Self.document(rows)
        }
    }

    // MARK: Inside a transaction of the district

    static func read(_ blast: BlastID, on connection: PostgresConnection) async throws -> BlastResource {
        try document(
            await connection.query("SELECT \(BlastResource.columns) FROM blast WHERE blast_id = $1", [.uuid(blast)]))
    }

    /// Reads the blast and keeps others from changing it until the transaction ends.
    static func lock(_ blast: BlastID, on connection: PostgresConnection) async throws -> BlastResource {
        try document(
            await connection.query(
                "SELECT \(BlastResource.columns) FROM blast WHERE blast_id = $1 FOR UPDATE", [.uuid(blast)]))
    }

    /// Keeps uploads and deletion away from the blast's list until the transaction ends. Before `lock`, for all who take
    /// both.
    /// - Throws: `Problem` 409 while somebody else has it.
    static func keepList(of blast: BlastID, on connection: PostgresConnection) async throws {
        let rows = try await connection.query("SELECT keep_list($1) AS is_kept", [.uuid(blast)])
        guard try rows.first?.bool("is_kept") == true else {
            throw IntakeProblems.conflict(
                "upload-under-way", "A list of this blast is being uploaded",
                "Another upload of this blast's list is under way, or broke off without a word and is given up within a "
                    + "minute. Wait for its end and repeat the request.")
        }
    }

    /// Deletes what statuses a locked draft's list has.
    static func deleteStatuses(of blast: BlastID, on connection: PostgresConnection) async throws {
        for table in ["delivery_status", "blast_count"] {
            _ = try await connection.query("DELETE FROM \(table) WHERE blast_id = $1", [.uuid(blast)])
        }
    }

    private static func document(_ rows: PostgresRows) throws -> BlastResource {
        guard let row = rows.first else { throw IntakeProblems.noSuchBlast }
        return try BlastResource(row)
    }
}
