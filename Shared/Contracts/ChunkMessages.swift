public import Delivery

/// A range of a blast's recipients, asked to be screened (`rollcall.chunks.requested…`, key: the blast) or cleared for
/// dispatch (`rollcall.chunks.cleared…`, key: blast and chunk). Carries no address: the rows are in PostgreSQL.
public struct ChunkMessage: Sendable, Hashable {
    public enum Stage: String, Sendable {
        case requested = "rollcall.chunk.requested.v1"
        case cleared = "rollcall.chunk.cleared.v1"
    }

    public let stage: Stage
    public let blast: BlastID
    public let district: DistrictID
    public let chunkNumber: Int32
    public let firstRecipient: Int32
    public let lastRecipient: Int32
    public let isEmergency: Bool
    public let atMicroseconds: Int64

    public init(
        stage: Stage, blast: BlastID, district: DistrictID, chunkNumber: Int32, firstRecipient: Int32,
        lastRecipient: Int32, isEmergency: Bool, atMicroseconds: Int64
    ) {
        self.stage = stage
        self.blast = blast
        self.district = district
        self.chunkNumber = chunkNumber
        self.firstRecipient = firstRecipient
        self.lastRecipient = lastRecipient
        self.isEmergency = isEmergency
        self.atMicroseconds = atMicroseconds
    }

    public var topic: Topic {
        switch (stage, isEmergency) {
        case (.requested, false): .chunksRequested
        case (.requested, true): .chunksRequestedEmergency
        case (.cleared, false): .chunksCleared
        case (.cleared, true): .chunksClearedEmergency
        }
    }

    public var attributes: CloudEventAttributes {
        CloudEventAttributes(
            id: "\(stage == .requested ? "requested" : "cleared")/\(blast)/\(chunkNumber)",
            source: stage == .requested ? "/rollcall/sender" : "/rollcall/blacklist-guard", type: stage.rawValue,
            timeMicroseconds: atMicroseconds, subject: "\(blast)/\(chunkNumber)")
    }

    public var key: [UInt8] {
        Array((stage == .requested ? "\(blast)" : "\(blast)/\(chunkNumber)").utf8)
    }

    public func value() throws -> [UInt8] {
        try StrictJSON.encode(
            Body(
                blast_id: blast.description, district: district.number, chunk: chunkNumber,
                first_recipient: firstRecipient, last_recipient: lastRecipient,
                class: isEmergency ? "emergency" : "general"))
    }

    public init(value: [UInt8], header: (String) -> String?) throws(ContractError) {
        let attributes = try CloudEventAttributes(header: header)
        guard let stage = Stage(rawValue: attributes.type) else {
            throw ContractError("unknown event type \(attributes.type.prefix(80))")
        }
        let body = try StrictJSON.decode(Body.self, from: value)
        guard let blast = BlastID(body.blast_id) else { throw ContractError("blast_id is not a UUID") }
        guard body.chunk > 0, body.first_recipient > 0, body.last_recipient >= body.first_recipient else {
            throw ContractError("chunk range is not a range")
        }
        guard body.class == "general" || body.class == "emergency" else { throw ContractError("unknown class") }
        self.init(
            stage: stage, blast: blast, district: DistrictID(body.district), chunkNumber: body.chunk,
            firstRecipient: body.first_recipient, lastRecipient: body.last_recipient,
            isEmergency: body.class == "emergency", atMicroseconds: attributes.timeMicroseconds)
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Body: Codable {
        let blast_id: String
        let district: Int64
        let chunk: Int32
        let first_recipient: Int32
        let last_recipient: Int32
        let `class`: String
    }
}
