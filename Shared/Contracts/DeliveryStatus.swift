public import Delivery

/// The full state of one delivery after one change, on `rollcall.delivery.status.v1` (key: the delivery; compacted).
///
/// One record per change. `version` counts status-bearing facts; a record covers the versions
/// `versionFrom...version` (the first record of a delivery under an incarnation covers everything from 0, `pending`).
/// Records of a delivery appear in version order without gaps the first time; a repeat may follow at any time. A reader compares
/// (`incarnation`, `version`, `seq`) with what it has and ignores what is not newer. No address is published.
public struct DeliveryStatusRecord: Sendable, Hashable {
    public static let type = "rollcall.delivery.status.v1"

    public let delivery: DeliveryID
    public let district: DistrictID
    public let facts: DeliveryFacts
    public let versionFrom: Int
    public let incarnation: Int32
    public let seq: Int64
    public let attempts: Int32
    public let lastAttemptAtMicroseconds: Int64?
    public let response: String?
    /// When the newest fact happened.
    public let changedAtMicroseconds: Int64
    /// The event that made this change.
    public let eventID: String
    /// Whom the district means, in its own words: the `person_ref` of the uploaded list.
    public let personReference: String?

    public init(
        delivery: DeliveryID, district: DistrictID, facts: DeliveryFacts, versionFrom: Int, incarnation: Int32,
        seq: Int64, attempts: Int32, lastAttemptAtMicroseconds: Int64?, response: String?,
        changedAtMicroseconds: Int64, eventID: String, personReference: String? = nil
    ) {
        self.delivery = delivery
        self.district = district
        self.facts = facts
        self.versionFrom = versionFrom
        self.incarnation = incarnation
        self.seq = seq
        self.attempts = attempts
        self.lastAttemptAtMicroseconds = lastAttemptAtMicroseconds
        self.response = response
        self.changedAtMicroseconds = changedAtMicroseconds
        self.eventID = eventID
        self.personReference = personReference
    }

    public var version: Int { facts.version }

    public var attributes: CloudEventAttributes {
        CloudEventAttributes(
            id: "status/\(incarnation)/\(seq)/\(delivery)", source: "/rollcall/status-projector", type: Self.type,
            timeMicroseconds: changedAtMicroseconds, subject: delivery.description)
    }

    public var key: [UInt8] { delivery.octets }

    /// The members of `Body`, sorted by name, written without an encoder.
    public func value() throws -> [UInt8] {
        var writer = PlainJSONWriter(capacity: 640)
        writer.member("attempts", Int64(attempts))
        try writer.member("blast_id", delivery.blast.description)
        writer.member("changed_at", time: changedAtMicroseconds)
        writer.member("district", district.number)
        try writer.member("event_id", eventID)
        writer.member("fact_names", plain: facts.names)
        writer.member("facts", facts.bits)
        writer.member("final", facts.isFinal)
        writer.member("incarnation", Int64(incarnation))
        if let lastAttemptAtMicroseconds { writer.member("last_attempt_at", time: lastAttemptAtMicroseconds) }
        if let personReference { try writer.member("person_ref", personReference) }
        writer.member("recipient_no", Int64(delivery.recipientNumber))
        if let response { try writer.member("response", response) }
        writer.member("seq", seq)
        try writer.member("status", facts.canonicalStatus.name)
        writer.member("version", Int64(version))
        writer.member("version_from", Int64(versionFrom))
        writer.end()
        return writer.bytes
    }

    /// The values of the headers that `attributes` names, as octets; what all records share is made once.
    public func headerOctets(key: [UInt8]) -> [(name: String, value: [UInt8])] {
        var id = Array("status/".utf8)
        id.reserveCapacity(32 + key.count)
        id.append(decimal: Int64(incarnation))
        id.append(UInt8(ascii: "/"))
        id.append(decimal: seq)
        id.append(UInt8(ascii: "/"))
        id.append(contentsOf: key)
        var time: [UInt8] = []
        time.reserveCapacity(27)
        Timestamp.append(microseconds: changedAtMicroseconds, to: &time)
        return [
            ("ce_specversion", CloudEventAttributes.specVersion), ("ce_id", id), ("ce_source", Self.source),
            ("ce_type", Self.typeOctets), ("ce_time", time), ("ce_subject", key),
            ("content-type", CloudEventAttributes.contentType),
        ]
    }

    private static let source = Array("/rollcall/status-projector".utf8)
    private static let typeOctets = Array(type.utf8)

    public init(value: [UInt8]) throws(ContractError) {
        let body = try StrictJSON.decode(Body.self, from: value)
        guard let blast = BlastID(body.blast_id) else { throw ContractError("blast_id is not a UUID") }
        guard let changedAt = Timestamp.microseconds(body.changed_at) else {
            throw ContractError("changed_at is not a time")
        }
        self.init(
            delivery: DeliveryID(blast: blast, recipientNumber: body.recipient_no),
            district: DistrictID(body.district), facts: DeliveryFacts(bits: body.facts),
            versionFrom: body.version_from, incarnation: body.incarnation, seq: body.seq, attempts: body.attempts,
            lastAttemptAtMicroseconds: body.last_attempt_at.flatMap(Timestamp.microseconds(_:)),
            response: body.response, changedAtMicroseconds: changedAt, eventID: body.event_id,
            personReference: body.person_ref)
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Body: Decodable {
        let blast_id: String
        let recipient_no: Int32
        let district: Int64
        let facts: Int64
        let fact_names: [String]
        let status: String
        let version: Int
        let version_from: Int
        let incarnation: Int32
        let seq: Int64
        let final: Bool
        let attempts: Int32
        let last_attempt_at: String?
        let response: String?
        let changed_at: String
        let event_id: String
        let person_ref: String?
    }
}
