public import Delivery

/// Something a person asked the owner of a table to do, on `rollcall.commands.v1` (key: the target).
/// Carrying it out twice equals once: owners remember the id.
public struct Command: Sendable, Hashable {
    public enum Kind: String, Sendable {
        /// Lift the block of an address. Target: the address hash in hexadecimal.
        case blacklistReset = "blacklist.reset"
        /// Block an address by hand. Target: the address hash in hexadecimal; `address` is set.
        case blacklistAdd = "blacklist.add"
    }

    public static let type = "rollcall.command.issued.v1"

    public let id: String
    public let kind: Kind
    public let district: DistrictID
    public let target: String
    public let address: String?
    public let actor: String
    public let reason: String
    public let atMicroseconds: Int64

    public init(
        id: String, kind: Kind, district: DistrictID, target: String, address: String? = nil, actor: String,
        reason: String, atMicroseconds: Int64
    ) {
        self.id = id
        self.kind = kind
        self.district = district
        self.target = target
        self.address = address
        self.actor = actor
        self.reason = reason
        self.atMicroseconds = atMicroseconds
    }

    public var attributes: CloudEventAttributes {
        CloudEventAttributes(
            id: id, source: "/rollcall/report-api", type: Self.type, timeMicroseconds: atMicroseconds,
            subject: "\(district)/\(target)")
    }

    public var key: [UInt8] { Array("\(district)/\(target)".utf8) }

    public func value() throws -> [UInt8] {
        try StrictJSON.encode(
            Body(
                kind: kind.rawValue, district: district.number, target: target, address: address, actor: actor,
                reason: reason))
    }

    public init(value: [UInt8], header: (String) -> String?) throws(ContractError) {
        let attributes = try CloudEventAttributes(header: header)
        guard attributes.type == Self.type else {
            throw ContractError("unknown event type \(attributes.type.prefix(80))")
        }
        let body = try StrictJSON.decode(Body.self, from: value)
        guard let kind = Kind(rawValue: body.kind) else {
            throw ContractError("unknown command \(body.kind.prefix(60))")
        }
        self.init(
            id: attributes.id, kind: kind, district: DistrictID(body.district), target: body.target,
            address: body.address, actor: body.actor, reason: body.reason,
            atMicroseconds: attributes.timeMicroseconds)
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Body: Codable {
        let kind: String
        let district: Int64
        let target: String
        let address: String?
        let actor: String
        let reason: String
    }
}
