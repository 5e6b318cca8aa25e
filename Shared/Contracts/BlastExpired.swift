public import Delivery

/// The report of a blast has ended, on `rollcall.blast.progress.v1` (key: the blast). Readers forget the blast and its
/// deliveries, and ignore whatever they read about it afterwards.
///
/// Published by the blast's publisher after the report's time is over, and again when the event history restarted, under
/// the same id.
public struct BlastExpiredRecord: Sendable, Hashable {
    public static let type = "rollcall.blast.expired.v1"

    public let blast: BlastID
    public let district: DistrictID
    /// The moment from which nothing of the report is shown any more.
    public let expiredAtMicroseconds: Int64

    public init(blast: BlastID, district: DistrictID, expiredAtMicroseconds: Int64) {
        self.blast = blast
        self.district = district
        self.expiredAtMicroseconds = expiredAtMicroseconds
    }

    public var attributes: CloudEventAttributes {
        CloudEventAttributes(
            id: "expired/\(blast)", source: "/rollcall/status-projector", type: Self.type,
            timeMicroseconds: expiredAtMicroseconds, subject: blast.description)
    }

    public var key: [UInt8] { Array(blast.description.utf8) }

    public func value() throws -> [UInt8] {
        try StrictJSON.encode(
            Body(
                blast_id: blast.description, district: district.number,
                expired_at: Timestamp.string(microseconds: expiredAtMicroseconds)))
    }

    public init(value: [UInt8]) throws(ContractError) {
        let body = try StrictJSON.decode(Body.self, from: value)
        guard let blast = BlastID(body.blast_id) else { throw ContractError("blast_id is not a UUID") }
        guard let expiredAt = Timestamp.microseconds(body.expired_at) else {
            throw ContractError("expired_at is not a time")
        }
        self.init(blast: blast, district: DistrictID(body.district), expiredAtMicroseconds: expiredAt)
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Body: Codable {
        let blast_id: String
        let district: Int64
        let expired_at: String
    }
}
