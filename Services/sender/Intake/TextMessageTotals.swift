import Delivery
import HTTPProviders
import Postgres
import Runtime

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
/// What the SMS of a blast are charged by: the segments that its texts are divided into, as they will be sent.
struct TextMessageTotals: Encodable, Sendable {
    /// With a number that can be used; some of them may be left out by the rules.
    private(set) var recipients: Int64 = 0
    private(set) var segments: Int64 = 0
    /// Recipients whose text needs more than one segment.
    private(set) var over_one_segment: Int64 = 0
    /// Recipients whose text has a letter outside GSM-7, which more than halves a segment.
    private(set) var ucs2: Int64 = 0
    /// Recipients whose text the provider does not take, or who have none: they will get nothing.
    private(set) var unsendable: Int64 = 0

    private static let pageSize: Int64 = 2_000
    private static let count = """
        SELECT count(*) AS n FROM recipient WHERE blast_id = $1 AND channel = 'sms' AND fault IS NULL
        """
    private static let page = """
        SELECT recipient_no, channel, address, address_hash, name, person_ref, person_kind, school, locale,
               fields::text AS fields
          FROM recipient WHERE blast_id = $1 AND recipient_no > $2 AND channel = 'sms' AND fault IS NULL
         ORDER BY recipient_no LIMIT $3
        """

    /// Nil for a blast without SMS. A text that is the same for all is rendered once.
    static func read(
        _ resource: BlastResource, _ document: BlastDocument, of blast: BlastID, composer: MessageComposer,
        on connection: PostgresConnection
    ) async throws -> TextMessageTotals? {
        guard resource.channels.contains("sms"), let text = resource.text else { return nil }
        // Without the HTML, which nobody would see.
        guard let template = try? MessageTemplate(subject: "", html: nil, text: text) else { return nil }
        let document = BlastDocument(
            blast: blast, district: document.district, isEmergency: document.isEmergency, from: nil, replyTo: nil,
            template: .success(template), links: [:])
        var totals = TextMessageTotals()
        let isSame = try TemplateTags(text).names.subtracting(PersonalLink.names).isEmpty
        var last: Int64 = 0
        while true {
            let rows = try await connection.query(
                page, [.uuid(blast), .int(last), .int(isSame ? 1 : pageSize)])
            guard let end = try rows.last?.int("recipient_no") else { return totals }
            for row in rows {
                totals.add(composer.textMessage(to: try Recipient(row), of: document))
            }
            guard !isSame else {
                let all = try await connection.query(count, [.uuid(blast)]).first?.int("n") ?? 0
                return totals.times(all)
            }
            last = end
        }
    }

    private mutating func add(_ text: String?) {
        recipients += 1
        guard let text else {
            unsendable += 1
            return
        }
        let divided = TextSegments(text)
        segments += Int64(divided.count)
        if divided.count > 1 { over_one_segment += 1 }
        if divided.encoding == .ucs2 { ucs2 += 1 }
    }

    private func times(_ number: Int64) -> TextMessageTotals {
        var totals = self
        totals.recipients *= number
        totals.segments *= number
        totals.over_one_segment *= number
        totals.ucs2 *= number
        totals.unsendable *= number
        return totals
    }

    var warnings: [BlastSummary.Warning] {
        guard unsendable > 0 else { return [] }
        return [
            BlastSummary.Warning(
                kind: "text-too-long",
                detail: "\(unsendable) recipients would get no SMS: their text is empty, or has more than "
                    + "\(MessageComposer.textMessageMax) characters.")
        ]
    }
}

extension MessageComposer {
    /// The text that a recipient with a telephone number would get, links included; nil for mail, and where none can be
    /// sent.
    func textMessage(to recipient: Recipient, of document: BlastDocument) -> String? {
        guard Channel(address: recipient.address) == .sms,
            case .success(let message) = compose(recipient, of: document, unixSeconds: 0).result
        else { return nil }
        return String(decoding: message.octets, as: UTF8.self)
    }
}
