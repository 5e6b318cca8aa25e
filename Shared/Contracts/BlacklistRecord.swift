public import Delivery

/// An address as the guard sees it, on `rollcall.blacklist.v1` (key: district and address hash; compacted).
/// The address itself is not published; `version` rises with every change, and a reader keeps the highest.
public struct BlacklistRecord: Sendable, Hashable {
    public static let type = "rollcall.blacklist.changed.v1"

    public let district: DistrictID
    /// HMAC-SHA-256 under the district's key, hexadecimal.
    public let addressHash: String
    public let reason: String
    public let isActive: Bool
    public let version: Int64
    public let changedAtMicroseconds: Int64

    public init(
        district: DistrictID, addressHash: String, reason: String, isActive: Bool, version: Int64,
        changedAtMicroseconds: Int64
    ) {
        self.district = district
        self.addressHash = addressHash
        self.reason = reason
        self.isActive = isActive
        self.version = version
        self.changedAtMicroseconds = changedAtMicroseconds
    }

    public var attributes: CloudEventAttributes {
        CloudEventAttributes(
            id: "blacklist/\(district)/\(addressHash)/\(version)", source: "/rollcall/blacklist-guard",
            type: Self.type, timeMicroseconds: changedAtMicroseconds, subject: "\(district)/\(addressHash)")
    }

    public var key: [UInt8] { Array("\(district)/\(addressHash)".utf8) }

    public func value() throws -> [UInt8] {
        try StrictJSON.encode(
            Body(
                district: district.number, address_hash: addressHash, reason: reason, active: isActive,
                version: version, changed_at: Timestamp.string(microseconds: changedAtMicroseconds)))
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Body: Codable {
        let district: Int64
        let address_hash: String
        let reason: String
        let active: Bool
        let version: Int64
        let changed_at: String
    }
}
