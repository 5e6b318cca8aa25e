import Delivery
import HTTPTypes
import Mail
import Postgres
import Runtime
import Signing

/// What a blast's messages share, as its sender sees it before it is sent: the same document that dispatch will read.
enum DraftMessage {
    private static let attachments = """
        SELECT name, media_type, content, sha256 FROM blast_attachment WHERE blast_id = $1 ORDER BY name
        """
    private static let attachmentsDigest = """
        SELECT sha256(string_agg(convert_to(name, 'UTF8') || sha256, ''::bytea ORDER BY name)) AS digest
          FROM blast_attachment WHERE blast_id = $1 HAVING count(*) > 0
        """
    private static let recipient = """
        SELECT r.recipient_no, r.channel, r.address, coalesce(r.address_hash, '') AS address_hash, r.name, r.person_ref,
               r.person_kind, r.school, r.locale, r.fields::text AS fields, r.fault_reason
          FROM recipient r WHERE r.blast_id = $1 AND r.recipient_no = $2
        """

    /// Inside a transaction of the district. Links are not tracked and nobody can be unsubscribed by a message made of it.
    static func document(
        _ resource: BlastResource, of blast: BlastID, district: Int64, on connection: PostgresConnection
    ) async throws -> BlastDocument {
        let template: MessageTemplate
        do {
            template = try MessageTemplate(subject: resource.subject, html: resource.html, text: resource.text)
        } catch {
            throw Problem(
                "template-unusable", title: "The template cannot be used", status: .unprocessableContent,
                detail: "The template cannot be used: \(error).")
        }
        var document = BlastDocument(
            blast: blast, district: DistrictID(district), isEmergency: resource.class == "emergency",
            from: resource.from.flatMap { from in
                (try? EmailAddress(parsing: from.address)).map { Mailbox(name: from.name, address: $0) }
            },
            replyTo: resource.reply_to.flatMap { try? EmailAddress(parsing: $0) }.map { Mailbox(address: $0) },
            template: .success(template), links: [:])
        document.isTracked = false
        document.offersUnsubscribe = false
        document.countsByPerson = resource.dedupe_key == "address+person"
        document.attachmentsDigest = try await attachmentsDigest(of: blast, on: connection)
        return document
    }

    static func attachments(of blast: BlastID, in database: PostgresPool) async throws -> [MIMEAttachment] {
        try attachments(try await database.query(attachments, [.uuid(blast)]))
    }

    static func attachments(of blast: BlastID, on connection: PostgresConnection) async throws -> [MIMEAttachment] {
        try attachments(try await connection.query(attachments, [.uuid(blast)]))
    }

    private static func attachments(_ rows: PostgresRows) throws -> [MIMEAttachment] {
        try rows.map { row in
            try MIMEAttachment(
                name: try row.string("name"), mediaType: try row.string("media_type"),
                content: try row.bytes("content"))
        }
    }

    static func attachmentsDigest(of blast: BlastID, on connection: PostgresConnection) async throws -> [UInt8]? {
        try await connection.query(attachmentsDigest, [.uuid(blast)]).first?.bytes("digest")
    }

    static func attachmentsDigest(of blast: BlastID, in database: PostgresPool) async throws -> [UInt8]? {
        try await database.query(attachmentsDigest, [.uuid(blast)]).first?.bytes("digest")
    }

    /// The content that all recipients share, as the hand-over will hash it: with it the guard can tell early who had it
    /// within the window (I-14). Nil when each recipient reads something else, or siblings count apart.
    static func commonContent(_ document: BlastDocument, tags: Set<String>) -> [UInt8]? {
        guard tags.isEmpty, !document.countsByPerson, case .success(let template) = document.template else {
            return nil
        }
        return MessageComposer.contentHash(template.render([:]), .nobody, document)
    }

    static func recipient(
        _ number: Int32, of blast: BlastID, on connection: PostgresConnection
    ) async throws -> (recipient: Recipient, fault: String?)? {
        guard let row = try await connection.query(recipient, [.uuid(blast), .int4(number)]).first else { return nil }
        return (try Recipient(row), try row.optionalString("fault_reason"))
    }
}

extension Recipient {
    static let nobody = Recipient(
        number: 0, address: "", addressHash: [], name: nil, personReference: nil, school: nil, fields: "{}")
}
