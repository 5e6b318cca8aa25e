import Delivery
import Mail
import Postgres
import Runtime

/// What blasts' messages share, read once per blast. Nothing of it changes after a blast began to be sent.
actor BlastDocuments {
    private static let kept = 64
    /// Octets of attachments kept beside the newest document's.
    private static let keptAttachments = 32 << 20
    private static let blast = """
        SELECT district_id, class = 'emergency' AS emergency, from_address, from_name, reply_to, subject, html_template,
               text_template, dedupe_key = 'address+person' AS by_person,
               NOT district_decided(district_id, 'tracking_off') AS tracked,
               NOT district_decided(district_id, 'unsubscribe_exempt', category) AS unsubscribable
          FROM blast WHERE blast_id = $1
        """
    private static let links = "SELECT link_no, url FROM blast_link WHERE blast_id = $1"

    private let database: PostgresPool
    private var documents: [BlastID: BlastDocument] = [:]
    /// Least recently used first.
    private var order: [BlastID] = []

    init(database: PostgresPool) { self.database = database }

    func document(_ blast: BlastID) async throws -> BlastDocument? {
        if let known = documents[blast] {
            touch(blast)
            return known
        }
        guard let document = try await read(blast) else { return nil }
        documents[blast] = document
        touch(blast)
        while order.count > Self.kept || order.count > 1 && attachmentOctets > Self.keptAttachments {
            documents[order.removeFirst()] = nil
        }
        return document
    }

    private var attachmentOctets: Int {
        documents.values.reduce(0) { $0 + $1.attachments.reduce(0) { $0 + $1.encodedCount } }
    }

    private func touch(_ blast: BlastID) {
        order.removeAll { $0 == blast }
        order.append(blast)
    }

    private func read(_ blast: BlastID) async throws -> BlastDocument? {
        guard let row = try await database.query(Self.blast, [.uuid(blast)]).first else { return nil }
        var links: [[UInt8]: Int16] = [:]
        for link in try await database.query(Self.links, [.uuid(blast)]) {
            links[Array(try link.string("url").utf8)] = Int16(truncatingIfNeeded: try link.int("link_no"))
        }
        let template: Result<MessageTemplate, MessageTemplate.Fault>
        do throws(MessageTemplate.Fault) {
            template = .success(try Self.template(row))
        } catch {
            template = .failure(error)
        }
        var document = BlastDocument(
            blast: blast, district: DistrictID(try row.int("district_id")), isEmergency: try row.bool("emergency"),
            from: Self.mailbox(try row.string("from_address"), name: try row.optionalString("from_name")),
            replyTo: try row.optionalString("reply_to").flatMap { Self.mailbox($0, name: nil) }, template: template,
            links: links)
        document.isTracked = try row.bool("tracked")
        document.offersUnsubscribe = try row.bool("unsubscribable")
        document.countsByPerson = try row.bool("by_person")
        document.attachments = try await DraftMessage.attachments(of: blast, in: database)
        document.attachmentsDigest = try await DraftMessage.attachmentsDigest(of: blast, in: database)
        document.outline = MessageOutline(document)
        return document
    }

    private static func template(_ row: PostgresRow) throws(MessageTemplate.Fault) -> MessageTemplate {
        let parts: (subject: String, html: String?, text: String?)
        do {
            parts = (
                try row.string("subject"), try row.optionalString("html_template"),
                try row.optionalString("text_template")
            )
        } catch {
            throw MessageTemplate.Fault(part: .subject, reason: "the stored templates cannot be read")
        }
        return try MessageTemplate(subject: parts.subject, html: parts.html, text: parts.text)
    }

    private static func mailbox(_ address: String, name: String?) -> Mailbox? {
        (try? EmailAddress(parsing: address)).map { Mailbox(name: name, address: $0) }
    }
}
