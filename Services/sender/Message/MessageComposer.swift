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
    /// Spares work at many messages, and changes none; made from all of the above.
    var outline: MessageOutline?
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
    private let publicURLOctets: [UInt8]
    /// Our own links cannot be taken for markup.
    private let hasPlainLinks: Bool

    init(publicURL: String, bounceDomain: String, keys: TokenKeys) {
        self.publicURL = publicURL.hasSuffix("/") ? String(publicURL.dropLast()) : publicURL
        self.bounceDomain = bounceDomain
        self.keys = keys
        publicURLOctets = Array(self.publicURL.utf8)
        hasPlainLinks = !publicURLOctets.contains(where: MessageOutline.isMarkup)
    }

    func compose(_ recipient: Recipient, of document: BlastDocument, unixSeconds: Int64) -> Composition {
        if let original = recipient.original {
            return Self.failed(
                .duplicate, "Same address as recipient \(original) of this blast; one message is enough.")
        }
        let delivery = DeliveryID(blast: document.blast, recipientNumber: recipient.number)
        let links = DeliveryLinks(
            publicURL: publicURLOctets, keys: keys, district: document.district, delivery: delivery)
        let isText = Channel(address: recipient.address) == .sms
        if !isText, hasPlainLinks, let outline = document.outline,
            let (values, subject, content) = outline.merge(recipient)
        {
            return Composition(
                contentHash: Self.contentHash(content.finish(), recipient, document),
                result: encode(
                    subject, text: outline.text?.filled(values, links, document),
                    html: outline.html?.filled(values, links, document), to: recipient, links, document,
                    unixSeconds: unixSeconds))
        }
        let template: MessageTemplate
        switch document.template {
        case .success(let parsed): template = parsed
        case .failure(let fault): return Self.failed(.notSent, "the template cannot be used: \(fault)")
        }
        let rendered = template.render(MergeFields.values(of: recipient))
        let linked =
            template.hasPersonalLinks
            ? rendered.resolved { link in links.text { $0.append(link, to: &$1) } } : rendered
        let html = linked.html.map { !isText && document.isTracked ? Self.tracked($0, links, document) : $0 }
        return Composition(
            contentHash: Self.contentHash(rendered, recipient, document),
            result: isText
                ? textMessage(linked, to: recipient, links)
                : encode(
                    linked.subject, text: linked.text.map { .text($0) }, html: html.map { .text($0) }, to: recipient,
                    links,
                    document, unixSeconds: unixSeconds))
    }

    /// Of what the recipient would read before any tracking (K-04). A blast that counts by person means the person too.
    static func contentHash(_ rendered: RenderedMessage, _ recipient: Recipient, _ document: BlastDocument) -> [UInt8] {
        contentHash(
            ContentHash.of(subject: rendered.subject, text: rendered.text, html: rendered.html), recipient, document)
    }

    private static func contentHash(
        _ ofParts: [UInt8], _ recipient: Recipient, _ document: BlastDocument
    ) -> [UInt8] {
        var hash = ofParts
        if let digest = document.attachmentsDigest { hash = SHA256Digest.of(hash + digest) }
        if document.countsByPerson {
            let person = "\(recipient.personKind ?? ""):\(recipient.personReference ?? "")"
            hash = SHA256Digest.of(hash + Array("person:\(person)".utf8))
        }
        return hash
    }

    private func encode(
        _ subject: String, text: MIMEBody?, html: MIMEBody?, to recipient: Recipient, _ links: DeliveryLinks,
        _ document: BlastDocument, unixSeconds: Int64
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
        let messageID = ReturnPath.messageID(links.delivery)
        var message = MIMEMessage(
            from: from, to: Mailbox(name: recipient.name, address: address), subject: subject, date: unixSeconds,
            messageID: "\(messageID)@\(bounceDomain)", text: text, html: html, boundary: messageID)
        message.replyTo = document.replyTo
        message.attachments = document.attachments
        let signed = links.signedDelivery
        let tag = Base64URL.encode(signed)
        message.extraHeaders = [("X-Rollcall-Delivery", tag)]
        if !document.isEmergency, document.offersUnsubscribe {
            message.unsubscribeURLs = [links.text { $0.append(.unsubscribe, to: &$1) }]
            message.oneClickUnsubscribe = true
        }
        do {
            let octets = try message.encoded()
            return .success(
                ComposedMessage(
                    envelope: SMTPEnvelope(
                        sender: "\(ReturnPath.localPart(links.delivery, signed: signed))@\(bounceDomain)",
                        recipient: address.wireForm, envelopeID: "\(links.delivery)"),
                    octets: octets, from: from.address.wireForm, tag: tag))
        } catch {
            return .failure(CompositionFault(fact: .notSent, reason: "the message cannot be built: \(error.reason)"))
        }
    }

    private func textMessage(
        _ rendered: RenderedMessage, to recipient: Recipient, _ links: DeliveryLinks
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
                envelope: SMTPEnvelope(sender: "", recipient: recipient.address, envelopeID: "\(links.delivery)"),
                octets: Array(text.utf8), tag: Base64URL.encode(links.signedDelivery)))
    }

    private static func tracked(_ html: String, _ links: DeliveryLinks, _ document: BlastDocument) -> String {
        var octets = Array(html.utf8)
        if !document.links.isEmpty {
            octets = TrackedLinks.rewrite(octets) { destination in
                document.links[destination].map { number in links.text { $0.appendClick(number, to: &$1) } }
            }
        }
        octets = TrackedLinks.insert(links.text { $0.appendOpenPixel(to: &$1) }, intoBodyOf: octets)
        return String(decoding: octets, as: UTF8.self)
    }

    private static func failed(_ fact: DeliveryFact, _ reason: String) -> Composition {
        Composition(contentHash: nil, result: .failure(CompositionFault(fact: fact, reason: reason)))
    }
}
