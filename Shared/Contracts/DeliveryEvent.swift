public import Delivery
import Foundation

/// A fact about one delivery, as stated on `rollcall.delivery.events.v1` (key: the delivery).
///
/// Stating it twice, late or out of order changes nothing: the projector joins facts. `id` is deterministic wherever
/// the event comes from a stored row.
public struct DeliveryEvent: Sendable, Hashable {
    public static let type = "rollcall.delivery.observed.v1"
    public static let evidenceMaxOctets = 512

    public let id: String
    public let source: String
    public let delivery: DeliveryID
    public let district: DistrictID
    public let fact: DeliveryFact
    public let occurredAtMicroseconds: Int64
    public let attempt: Attempt?
    /// The chosen answer, with `responded` and `acknowledged`.
    public let response: String?
    /// What the provider or we said, in words; at most 512 octets, cut at a character.
    public let evidence: String

    /// The try of the sender that this fact settles.
    public struct Attempt: Sendable, Hashable {
        public let number: Int32
        public let atMicroseconds: Int64
        public init(number: Int32, atMicroseconds: Int64) {
            self.number = number
            self.atMicroseconds = atMicroseconds
        }
    }

    public init(
        id: String, source: String, delivery: DeliveryID, district: DistrictID, fact: DeliveryFact,
        occurredAtMicroseconds: Int64, attempt: Attempt? = nil, response: String? = nil, evidence: String = ""
    ) {
        self.id = id
        self.source = source
        self.delivery = delivery
        self.district = district
        self.fact = fact
        self.occurredAtMicroseconds = occurredAtMicroseconds
        self.attempt = attempt
        self.response = response
        self.evidence = Self.cut(evidence)
    }

    public var attributes: CloudEventAttributes {
        CloudEventAttributes(
            id: id, source: source, type: Self.type, timeMicroseconds: occurredAtMicroseconds,
            subject: delivery.description)
    }

    public var key: [UInt8] { delivery.octets }

    public func value() throws -> [UInt8] {
        var writer = PlainJSONWriter(capacity: 160 + evidence.utf8.count)
        if let attempt {
            writer.begin("attempt")
            writer.member("at", time: attempt.atMicroseconds)
            writer.member("number", Int64(attempt.number))
            writer.end()
        }
        writer.member("district", district.number)
        if !evidence.isEmpty { try writer.member("evidence", evidence) }
        try writer.member("fact", fact.name)
        if let response { try writer.member("response", response) }
        writer.end()
        return writer.bytes
    }

    /// The values of the headers that `attributes` names, as octets; what all records share is made once.
    public func headerOctets(key: [UInt8]) -> [(name: String, value: [UInt8])] {
        var time: [UInt8] = []
        time.reserveCapacity(27)
        Timestamp.append(microseconds: occurredAtMicroseconds, to: &time)
        return [
            ("ce_specversion", CloudEventAttributes.specVersion), ("ce_id", Array(id.utf8)),
            ("ce_source", Array(source.utf8)), ("ce_type", Self.typeOctets), ("ce_time", time), ("ce_subject", key),
            ("content-type", CloudEventAttributes.contentType),
        ]
    }

    private static let typeOctets = Array(type.utf8)

    /// Reads a record back.
    /// - Throws: `ContractError` for anything that is not this contract; such a record is parked, never guessed at.
    public init(value: [UInt8], header: (String) -> String?) throws(ContractError) {
        let attributes = try CloudEventAttributes(header: header)
        guard attributes.type == Self.type else {
            throw ContractError("unknown event type \(attributes.type.prefix(80))")
        }
        guard let delivery = DeliveryID(attributes.subject) else { throw ContractError("ce_subject is not a delivery") }
        guard value.count <= 8192 else { throw ContractError("longer than 8192 octets") }
        let body = if let plain = Body(plain: value) { plain } else { try StrictJSON.decode(Body.self, from: value) }
        guard let fact = DeliveryFact(name: body.fact) else {
            throw ContractError("unknown fact \(body.fact.prefix(60))")
        }
        guard body.district > 0 else { throw ContractError("district is not positive") }
        var attempt: Attempt?
        if let given = body.attempt {
            guard given.number > 0 else { throw ContractError("attempt.number is not positive") }
            guard let at = Timestamp.microseconds(given.at) else { throw ContractError("attempt.at is not a time") }
            attempt = Attempt(number: given.number, atMicroseconds: at)
        }
        if let response = body.response, response.utf8.count > 512 {
            throw ContractError("response is longer than 512 octets")
        }
        self.init(
            id: attributes.id, source: attributes.source, delivery: delivery, district: DistrictID(body.district),
            fact: fact, occurredAtMicroseconds: attributes.timeMicroseconds, attempt: attempt,
            response: body.response, evidence: body.evidence ?? "")
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    fileprivate struct Body: Decodable {
        let district: Int64
        let fact: String
        let attempt: AttemptBody?
        let response: String?
        let evidence: String?
    }

    fileprivate struct AttemptBody: Decodable {
        let number: Int32
        let at: String
    }

    private static func cut(_ text: String) -> String {
        guard text.utf8.count > evidenceMaxOctets else { return text }
        var cut = Substring(text)
        while cut.utf8.count > evidenceMaxOctets { cut = cut.dropLast() }
        return String(cut)
    }
}

// The spelling of our own writers, without a decoder.
extension DeliveryEvent {
    /// Reads a record in the plain spelling of our own writers, without the general decoder.
    ///
    /// Nil for anything else. That says nothing about the record: `init(value:header:)` decides, and gives the reason.
    public init?(plain value: [UInt8], header: (String) -> [UInt8]?) {
        guard value.count <= 8192, header("ce_specversion")?.elementsEqual("1.0".utf8) == true,
            header("ce_type")?.elementsEqual(Self.type.utf8) == true,
            let id = header("ce_id").flatMap(Self.plainText), id.utf8.count <= 200,
            let source = header("ce_source").flatMap(Self.plainText),
            let delivery = header("ce_subject").flatMap(DeliveryID.init(octets:)),
            let time = header("ce_time").flatMap(Timestamp.microseconds(octets:)),
            let body = Body(plain: value), let fact = DeliveryFact(name: body.fact), body.district > 0,
            (body.response?.utf8.count ?? 0) <= 512
        else { return nil }
        var attempt: Attempt?
        if let given = body.attempt {
            guard given.number > 0, let at = Timestamp.microseconds(given.at) else { return nil }
            attempt = Attempt(number: given.number, atMicroseconds: at)
        }
        self.init(
            id: id, source: source, delivery: delivery, district: DistrictID(body.district), fact: fact,
            occurredAtMicroseconds: time, attempt: attempt, response: body.response, evidence: body.evidence ?? "")
    }

    private static func plainText(_ octets: [UInt8]) -> String? {
        octets.isEmpty || octets.contains(0) ? nil : String(validating: octets, as: UTF8.self)
    }
}

extension DeliveryEvent.Body {
    /// Nil for anything else than these members, each at most once, in plain spelling: see `PlainJSONReader`.
    fileprivate init?(plain value: [UInt8]) {
        var reader = PlainJSONReader(value)
        var district: Int64?
        var fact: String?
        var attempt: DeliveryEvent.AttemptBody?
        var response: String?
        var evidence: String?
        guard reader.take(UInt8(ascii: "{")) else { return nil }
        repeat {
            guard let name = reader.string(), reader.take(UInt8(ascii: ":")) else { return nil }
            switch name {
            case "district" where district == nil:
                district = reader.number()
                guard district != nil else { return nil }
            case "fact" where fact == nil:
                fact = reader.string()
                guard fact != nil else { return nil }
            case "attempt" where attempt == nil:
                attempt = DeliveryEvent.AttemptBody(plain: &reader)
                guard attempt != nil else { return nil }
            case "response" where response == nil:
                response = reader.string()
                guard response != nil else { return nil }
            case "evidence" where evidence == nil:
                evidence = reader.string()
                guard evidence != nil else { return nil }
            default: return nil
            }
        } while reader.take(UInt8(ascii: ","))
        guard reader.take(UInt8(ascii: "}")), reader.isAtEnd, let district, let fact else { return nil }
        self.init(district: district, fact: fact, attempt: attempt, response: response, evidence: evidence)
    }
}

extension DeliveryEvent.AttemptBody {
    fileprivate init?(plain reader: inout PlainJSONReader) {
        guard reader.take(UInt8(ascii: "{")), reader.string() == "at", reader.take(UInt8(ascii: ":")),
            let at = reader.string(), reader.take(UInt8(ascii: ",")), reader.string() == "number",
            reader.take(UInt8(ascii: ":")), let number = reader.number().flatMap(Int32.init(exactly:)),
            reader.take(UInt8(ascii: "}"))
        else { return nil }
        self.init(number: number, at: at)
    }
}
