import Delivery
import Mail
import SMTP
import Signing

/// Everything of a blast that all its messages share, read once.
struct BlastDocument: Sendable {
    let blast: BlastID
    let district: DistrictID
    let isEmergency: Bool
    /// Nil when the stored sender is no address; intake does not let that in.
    let from: Mailbox?
    let replyTo: Mailbox?
    let template: Result<MessageTemplate, MessageTemplate.Fault>
    /// Link numbers by destination.
    let links: [[UInt8]: Int16]
    /// Opens and clicks are measured unless the district decided otherwise (S-16).
    var isTracked = true
    /// False for a category that the district exempted from unsubscription, and then never for anything else.
    var offersUnsubscribe = true
    /// Siblings at one address count apart (K-03, `address+person`).
    var countsByPerson = false
    var attachments: [MIMEAttachment] = []
    /// What identifies the attachments in the content's hash; nil without any.
    var attachmentsDigest: [UInt8]?
}

/// A message ready for hand-over.
struct ComposedMessage: Sendable {
    /// Of a text message, the recipient alone says something: a telephone number.
    let envelope: SMTPEnvelope
    /// The whole mail, or the text of a text message.
    let octets: [UInt8]
    /// The sender's address as the mail's header has it.
    var from: String?
    /// What a provider repeats in its reports: the delivery's token. Nil for a message of nobody's delivery.
    var tag: String?

    var channel: Channel { Channel(address: envelope.recipient) }
}

/// What became of composing one message.
struct Composition: Sendable {
    /// Of the rendered parts before tracking (K-04); nil when they could not be rendered.
    let contentHash: [UInt8]?
    let result: Result<ComposedMessage, CompositionFault>
}

/// Why a message cannot be sent whatever is tried. Said in words that carry no address.
struct CompositionFault: Error, Sendable, Equatable {
    let fact: DeliveryFact
    let reason: String
}

/// Renders a blast for one recipient and puts the delivery's tokens in: tracked links, open pixel, unsubscribe headers,
/// the delivery header that providers echo, return path and Message-ID.
struct MessageComposer: Sendable {
    /// What the SMS provider takes.
    static let textMessageMax = 1600

    /// Without a slash at its end.
    let publicURL: String
    let bounceDomain: String
    let keys: TokenKeys

    init(publicURL: String, bounceDomain: String, keys: TokenKeys) {
        self.publicURL = publicURL.hasSuffix("/") ? String(publicURL.dropLast()) : publicURL
        self.bounceDomain = bounceDomain
        self.keys = keys
    }

    func compose(_ recipient: Recipient, of document: BlastDocument, unixSeconds: Int64) -> Composition {
        if let original = recipient.original {
            return Self.failed(
                .duplicate, "Same address as recipient \(original) of this blast; one message is enough.")
        }
        let template: MessageTemplate
        switch document.template {
        case .success(let parsed): template = parsed
        case .failure(let fault): return Self.failed(.notSent, "the template cannot be used: \(fault)")
        }
        let rendered = template.render(MergeFields.values(of: recipient))
        let delivery = DeliveryID(blast: document.blast, recipientNumber: recipient.number)
        let linked =
            template.hasPersonalLinks
            ? rendered.resolved { "\(publicURL)/\($0.route)/\(token($0.purpose, delivery, document))" } : rendered
        return Composition(
            contentHash: Self.contentHash(rendered, recipient, document),
            result: Channel(address: recipient.address) == .sms
                ? textMessage(linked, to: recipient, delivery, document)
                : encode(linked, to: recipient, of: document, unixSeconds: unixSeconds))
    }

    /// Of what the recipient would read before any tracking (K-04). A blast that counts by person means the person too.
    static func contentHash(_ rendered: RenderedMessage, _ recipient: Recipient, _ document: BlastDocument) -> [UInt8] {
        var hash = ContentHash.of(subject: rendered.subject, text: rendered.text, html: rendered.html)
        if let digest = document.attachmentsDigest { hash = SHA256Digest.of(hash + digest) }
        if document.countsByPerson {
            let person = "\(recipient.personKind ?? ""):\(recipient.personReference ?? "")"
            hash = SHA256Digest.of(hash + Array("person:\(person)".utf8))
        }
        return hash
    }

    private func encode(
        _ rendered: RenderedMessage, to recipient: Recipient, of document: BlastDocument, unixSeconds: Int64
    ) -> Result<ComposedMessage, CompositionFault> {
        guard let from = document.from else {
            return .failure(CompositionFault(fact: .notSent, reason: "the blast's sender address cannot be used"))
        }
        let address: EmailAddress
        do {
            address = try EmailAddress(parsing: recipient.address)
        } catch {
            return .failure(CompositionFault(fact: .invalid, reason: error.reason))
        }
        let delivery = DeliveryID(blast: document.blast, recipientNumber: recipient.number)
        let messageID = ReturnPath.messageID(delivery)
        var message = MIMEMessage(
            from: from, to: Mailbox(name: recipient.name, address: address), subject: rendered.subject,
            date: unixSeconds, messageID: "\(messageID)@\(bounceDomain)", text: rendered.text,
            html: rendered.html.map { document.isTracked ? tracked($0, delivery, document) : $0 }, boundary: messageID)
        message.replyTo = document.replyTo
        message.attachments = document.attachments
        let tag = token(.delivery, delivery, document)
        message.extraHeaders = [("X-Rollcall-Delivery", tag)]
        if !document.isEmergency, document.offersUnsubscribe {
            message.unsubscribeURLs = ["\(publicURL)/u/\(token(.unsubscribe, delivery, document))"]
            message.oneClickUnsubscribe = true
        }
        do {
            let octets = try message.encoded()
            let sender = ReturnPath.localPart(district: document.district, delivery: delivery, keys: keys)
            return .success(
                ComposedMessage(
                    envelope: SMTPEnvelope(
                        sender: "\(sender)@\(bounceDomain)", recipient: address.wireForm,
                        envelopeID: "\(delivery)"),
                    octets: octets, from: from.address.wireForm, tag: tag))
        } catch {
            return .failure(CompositionFault(fact: .notSent, reason: "the message cannot be built: \(error.reason)"))
        }
    }

    private func textMessage(
        _ rendered: RenderedMessage, to recipient: Recipient, _ delivery: DeliveryID, _ document: BlastDocument
    ) -> Result<ComposedMessage, CompositionFault> {
        guard let text = rendered.text, !text.utf8.isEmpty else {
            return .failure(CompositionFault(fact: .notSent, reason: "the blast has no text for a text message"))
        }
        guard text.utf16.count <= Self.textMessageMax else {
            return .failure(
                CompositionFault(
                    fact: .notSent, reason: "a text message has at most \(Self.textMessageMax) characters"))
        }
        return .success(
            ComposedMessage(
                envelope: SMTPEnvelope(sender: "", recipient: recipient.address, envelopeID: "\(delivery)"),
                octets: Array(text.utf8), tag: token(.delivery, delivery, document)))
    }

    private func tracked(_ html: String, _ delivery: DeliveryID, _ document: BlastDocument) -> String {
        var octets = Array(html.utf8)
        if !document.links.isEmpty {
            octets = TrackedLinks.rewrite(octets) { destination in
                document.links[destination].map { "\(publicURL)/c/\(token(.click, delivery, document, link: $0))" }
            }
        }
        let source = "\(publicURL)/o/\(token(.open, delivery, document))"
        octets = TrackedLinks.insert(
            "<img src=\"\(source)\" width=\"1\" height=\"1\" alt=\"\">", intoBodyOf: octets)
        return String(decoding: octets, as: UTF8.self)
    }

    private func token(
        _ purpose: LinkToken.Purpose, _ delivery: DeliveryID, _ document: BlastDocument, link: Int16 = 0
    ) -> String {
        keys.sign(LinkToken(purpose: purpose, district: document.district, delivery: delivery, link: link))
    }

    private static func failed(_ fact: DeliveryFact, _ reason: String) -> Composition {
        Composition(contentHash: nil, result: .failure(CompositionFault(fact: fact, reason: reason)))
    }
}
