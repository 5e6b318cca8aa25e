import Delivery
import HTTPTypes
import Mail
import Postgres
import Runtime
import SMTP
import Signing

/// A draft's message to somebody who wants to see it in a mailbox or on a telephone.
///
/// It is marked in subject and header, or at the beginning of its text, carries no token of any delivery, is never counted, claims no content and is in no
/// report. A district may send so many an hour.
struct TestMessage: Sendable {
    typealias HandOver = @Sendable (SMTPEnvelope, [UInt8]) async -> SMTPOutcome

    static let perHour: Int64 = 30

    enum Destination: Sendable {
        case mailbox(EmailAddress)
        case telephone(PhoneNumber)

        var channel: Channel {
            switch self {
            case .mailbox: .email
            case .telephone: .sms
            }
        }

        var matchingKey: String {
            switch self {
            case .mailbox(let address): address.matchingKey
            case .telephone(let number): number.matchingKey
            }
        }
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    struct Receipt: Encodable, Sendable {
        let blast_id: String
        let recipient_no: Int32
        /// The relay's answer.
        let reply: String
    }

    let blast: BlastID
    let destination: Destination
    /// Whose merge fields it shows.
    let recipient: Int32
    let caller: Caller

    func send(composer: MessageComposer, pool: PostgresPool, handOver: HandOver) async throws -> Receipt {
        let (envelope, octets) = try await pool.withDistrict(caller.district) { connection in
            let resource = try await BlastStore.read(blast, on: connection)
            guard resource.state == "draft" else {
                throw IntakeProblems.conflict(
                    "not-a-draft", "The blast is not a draft",
                    "The blast is \(resource.state); a test is sent before the blast is.")
            }
            guard resource.channels.contains(destination.channel.rawValue) else {
                throw destination.channel == .email
                    ? IntakeProblems.conflict(
                        "no-mail", "The blast has no mail to test",
                        "The blast goes by text message alone; give a telephone number.")
                    : IntakeProblems.conflict(
                        "no-text-message", "The blast has no text message to test",
                        "The blast goes by mail alone; give an e-mail address.")
            }
            var document = try await DraftMessage.document(
                resource, of: blast, district: caller.district, on: connection)
            document.attachments = try await DraftMessage.attachments(of: blast, on: connection)
            guard let found = try await DraftMessage.recipient(recipient, of: blast, on: connection) else {
                throw IntakeProblems.noSuchRecipient(recipient, audience: resource.audience)
            }
            guard let row = try await connection.query(Self.key).first else { throw IntakeProblems.noSuchBlast }
            let hasher = AddressHasher(districtKey: try row.bytes("address_key"))
            _ = try await connection.query(
                "SELECT pg_advisory_xact_lock(hashtext('rollcall.test_message'), $1::bigint::int)",
                [.int(caller.district % Int64(Int32.max))])
            let kept = try await connection.query(
                Self.insert,
                [
                    .uuid(blast), .int(caller.district), .bytes(hasher.hash(matchingKey: destination.matchingKey)),
                    .text(caller.label), .int(Self.perHour),
                ])
            guard let test = kept.first else {
                throw Problem(
                    "too-many-tests", title: "Too many tests", status: .tooManyRequests,
                    detail: "The district has sent \(Self.perHour) tests within the last hour.",
                    headers: [.retryAfter: "600"])
            }
            switch destination {
            case .mailbox(let address):
                let number = try test.int("test_no")
                return (
                    SMTPEnvelope(sender: composer.testSender, recipient: address.wireForm),
                    try composer.testOctets(found.recipient, to: address, number: number, of: document)
                )
            case .telephone(let number):
                return (
                    SMTPEnvelope(sender: "", recipient: number.e164),
                    try composer.testText(found.recipient, of: document)
                )
            }
        }
        let outcome = await handOver(envelope, octets)
        return Receipt(blast_id: blast.description, recipient_no: recipient, reply: try Self.reply(outcome))
    }

    private static func reply(_ outcome: SMTPOutcome) throws(Problem) -> String {
        switch outcome {
        case .accepted(let reply): return reply.description
        case .rejected(let reply, _):
            throw Problem(
                "test-refused", title: "The relay refused the test", status: .unprocessableContent,
                detail: "The relay answered: \(reply).")
        case .deferred(let reply, _, let reason):
            throw Problem.unavailable(detail: "The test could not be sent now: \(reply.map { "\($0)" } ?? reason).")
        case .inDoubt(let reason):
            throw Problem.unavailable(detail: "The test may have been sent, or not: \(reason).")
        }
    }

    private static let key = "SELECT address_key FROM district"
    private static let insert = """
        INSERT INTO test_message (blast_id, district_id, address_hash, sent_by)
        SELECT $1, $2, $3, $4
         WHERE (SELECT count(*) FROM test_message
                 WHERE district_id = $2 AND sent_at > clock_timestamp() - interval '1 hour') < $5
        RETURNING test_no
        """
}

extension MessageComposer {
    /// Where bounces of test messages go: nobody's delivery.
    var testSender: String { "test@\(bounceDomain)" }

    /// What the recipient would read. Personal links lead to a page that says so.
    /// - Throws: `Problem` 422 when the message cannot be made.
    func preview(_ recipient: Recipient, of document: BlastDocument) throws(Problem) -> RenderedMessage {
        let template: MessageTemplate
        switch document.template {
        case .success(let parsed): template = parsed
        case .failure(let fault): throw Self.unusable("the template cannot be used: \(fault)")
        }
        return template.render(MergeFields.values(of: recipient)).resolved { "\(publicURL)/\($0.route)/preview" }
    }

    func previewOctets(_ recipient: Recipient, of document: BlastDocument) throws(Problem) -> [UInt8] {
        let address: EmailAddress
        do {
            address = try EmailAddress(parsing: recipient.address)
        } catch {
            throw Self.unusable(error.reason)
        }
        return try octets(
            try preview(recipient, of: document), to: Mailbox(name: recipient.name, address: address), of: document,
            id: "preview", headers: [])
    }

    func testOctets(
        _ recipient: Recipient, to address: EmailAddress, number: Int64, of document: BlastDocument
    ) throws(Problem) -> [UInt8] {
        var rendered = try preview(recipient, of: document)
        rendered.subject = "[Test] \(rendered.subject)"
        return try octets(
            rendered, to: Mailbox(address: address), of: document,
            id: "test-\(number)-\(document.blast)", headers: [("X-Rollcall-Test", "\(document.blast)")])
    }

    func testText(_ recipient: Recipient, of document: BlastDocument) throws(Problem) -> [UInt8] {
        let text = "[Test] \(try preview(recipient, of: document).text ?? "")"
        guard text.utf16.count <= Self.textMessageMax else {
            throw Self.unusable("with its mark it has more than \(Self.textMessageMax) characters")
        }
        return Array(text.utf8)
    }

    private func octets(
        _ rendered: RenderedMessage, to mailbox: Mailbox, of document: BlastDocument, id: String,
        headers: [(name: String, value: String)]
    ) throws(Problem) -> [UInt8] {
        guard let from = document.from else { throw Self.unusable("the blast's sender address cannot be used") }
        var message = MIMEMessage(
            from: from, to: mailbox, subject: rendered.subject, date: WallClock.nowMicroseconds() / 1_000_000,
            messageID: "\(id)@\(bounceDomain)", text: rendered.text, html: rendered.html, boundary: id)
        message.replyTo = document.replyTo
        message.extraHeaders = headers
        message.attachments = document.attachments
        do {
            return try message.encoded()
        } catch {
            throw Self.unusable("the message cannot be built: \(error.reason)")
        }
    }

    private static func unusable(_ reason: String) -> Problem {
        Problem(
            "message-unusable", title: "The message cannot be made", status: .unprocessableContent, detail: "\(reason)."
        )
    }
}
