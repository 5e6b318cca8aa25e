import Contracts
import Delivery
import HTTPTypes
import Postgres
import Runtime
import Signing

/// The order to send a blast, given once however often it is repeated.
struct SendOrder: Sendable {
    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    /// What the order set in motion. The same for every repetition of it.
    struct Receipt: Encodable, Sendable {
        let blast_id: String
        let audience: Int64
        let chunks: Int64
        let links: Int64
        let send_requested_at: String
        /// Until then somebody else has to approve it; left out when nobody has to.
        let approval_until: String?
    }

    let blast: BlastID
    let key: String
    let requestDigest: [UInt8]

    /// - Throws: `Problem` when the key is missing or unusable, or the body is neither empty nor `{}`.
    init(blast: BlastID, key: String?, body: [UInt8]) throws(Problem) {
        guard let key else {
            throw Problem(
                "idempotency-key-missing", title: "Idempotency-Key is missing", status: .badRequest,
                detail: "Send the header Idempotency-Key with a value of your choice, new for each order and the same "
                    + "when you repeat one, so that a repetition cannot send twice.")
        }
        guard (1...200).contains(key.utf8.count), key.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw Problem(
                "idempotency-key-invalid", title: "Idempotency-Key is not usable", status: .badRequest,
                detail: "Idempotency-Key has 1 to 200 visible ASCII characters.")
        }
        if !body.isEmpty {
            var reader = MemberReader(try IntakeProblems.object(body))
            reader.refuseUnknown()
            guard reader.faults.isEmpty else { throw IntakeProblems.members(reader.faults) }
        }
        self.blast = blast
        self.key = key
        // A body carries nothing yet, so {} and nothing are the same order.
        requestDigest = SHA256Digest.of(Array("send/\(blast)".utf8))
    }

    private static let claim = """
        INSERT INTO idempotency_key (district_id, key, blast_id, request_sha256) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        """
    private static let claimed = """
        SELECT blast_id = $3 AND request_sha256 = $4 AS is_same FROM idempotency_key
         WHERE district_id = $1 AND key = $2
        """
    private static let links = """
        INSERT INTO blast_link (blast_id, link_no, district_id, url)
        SELECT $1, l.no, $2, l.url FROM unnest($3::text[]) WITH ORDINALITY AS l (url, no)
        """
    private static let chunks = """
        INSERT INTO chunk (blast_id, chunk_no, district_id, class, first_no, last_no)
        SELECT $1, c + 1, $2, $3, c * $5 + 1, least((c + 1) * $5, $4)
          FROM generate_series(0, ($4::int - 1) / $5::int) AS c
        """
    /// An emergency waits for nobody's approval.
    private static let start = """
        UPDATE blast b
           SET state = CASE WHEN n.approval THEN 'awaiting_approval'
                            WHEN b.send_at > clock_timestamp() THEN 'scheduled' ELSE 'sending' END,
               send_requested_at = clock_timestamp(), requested_by = $3, requested_by_key = $4, content_hash = $2,
               approval_until = CASE WHEN n.approval THEN clock_timestamp() + $5 * interval '1 microsecond' END
          FROM (SELECT d.district_id, b.class <> 'emergency' AND coalesce(b.audience > d.approval_above, false)
                       AS approval
                  FROM blast b JOIN district d USING (district_id) WHERE b.blast_id = $1) n
         WHERE b.blast_id = $1 AND n.district_id = b.district_id
        """
    private static let receipt = """
        SELECT b.blast_id, b.audience, b.send_requested_at, b.approval_until,
               (SELECT count(*) FROM chunk c WHERE c.blast_id = b.blast_id) AS chunks,
               (SELECT count(*) FROM blast_link l WHERE l.blast_id = b.blast_id) AS links
          FROM blast b WHERE b.blast_id = $1
        """

    /// Everything of the order is stored in one transaction, or nothing is.
    func place(
        by caller: Caller, chunkSize: Int, limits: IntakeLimits, pool: PostgresPool
    ) async throws -> Receipt {
        try await pool.withDistrict(caller.district) { connection in
            let document = try await BlastStore.lock(blast, on: connection)
            let claim: [PostgresParameter] = [
                .int(caller.district), .text(key), .uuid(blast), .bytes(requestDigest),
            ]
            if try await connection.query(Self.claim, claim).affectedRows == 0 {
                guard try await connection.query(Self.claimed, claim).first?.bool("is_same") == true else {
                    throw Problem(
                        "idempotency-key-reused", title: "Idempotency-Key was used before",
                        status: .unprocessableContent,
                        detail: "This Idempotency-Key belongs to another order. Choose a new one for a new order.")
                }
                return try await receipt(on: connection)
            }
            try Self.check(document, hasSMS: limits.hasSMS)
            _ = try await connection.query(
                Self.links,
                [
                    .uuid(blast), .int(caller.district),
                    .textArray(document.html.map { TrackedLinks.find(inTemplate: $0) } ?? []),
                ])
            _ = try await connection.query(
                Self.chunks,
                [
                    .uuid(blast), .int(caller.district), .text(document.class),
                    .int4(Int32(clamping: document.audience)), .int4(Int32(clamping: chunkSize)),
                ])
            _ = try await connection.query("DELETE FROM list_part WHERE blast_id = $1", [.uuid(blast)])
            let message = try await DraftMessage.document(
                document, of: blast, district: caller.district, on: connection)
            _ = try await connection.query(
                Self.start,
                [
                    .uuid(blast), .bytes(DraftMessage.commonContent(message, tags: try document.tags())),
                    .text(caller.label), .text(caller.keyID),
                    .int(limits.approvalWithin.wholeMicroseconds),
                ])
            return try await receipt(on: connection)
        }
    }

    private func receipt(on connection: PostgresConnection) async throws -> Receipt {
        let rows = try await connection.query(Self.receipt, [.uuid(blast)])
        guard let row = rows.first else { throw IntakeProblems.noSuchBlast }
        return Receipt(
            blast_id: blast.description, audience: try row.int("audience"), chunks: try row.int("chunks"),
            links: try row.int("links"),
            send_requested_at: Timestamp.string(microseconds: try row.timestampMicroseconds("send_requested_at")),
            approval_until: try row.optionalTimestampMicroseconds("approval_until").map {
                Timestamp.string(microseconds: $0)
            })
    }

    private static func check(_ document: BlastResource, hasSMS: Bool) throws {
        guard document.state == "draft" else {
            throw IntakeProblems.conflict(
                "already-sent", "The blast was sent before",
                "The blast is \(document.state); it was ordered with another Idempotency-Key. To send it again, make a "
                    + "new blast with parent_blast_id.")
        }
        guard hasSMS || !document.channels.contains("sms") else {
            throw IntakeProblems.noSMSProvider("Nothing was ordered.")
        }
        guard document.audience > 0 else {
            throw Problem(
                "empty-audience", title: "The blast has no recipients", status: .unprocessableContent,
                detail: "Upload a list first: PUT /v1/blasts/\(document.blast_id)/recipients.")
        }
        let missing = try document.tags().subtracting(document.fields).sorted()
        guard missing.isEmpty else {
            throw Problem(
                "missing-fields", title: "The list lacks fields that the templates use", status: .unprocessableContent,
                detail: "The templates use \(missing.map { "{{\($0)}}" }.joined(separator: ", ")), which no column of "
                    + "the list has. Upload a list with these columns.",
                members: ["fields": .texts(missing), "field": .text(missing[0])])
        }
        if let notAfter = document.not_after, let limit = Timestamp.microseconds(notAfter),
            limit <= WallClock.nowMicroseconds()
        {
            throw IntakeProblems.conflict(
                "too-late", "The blast's time has passed", "Its not_after, \(notAfter), is over; nothing would be sent."
            )
        }
    }
}
