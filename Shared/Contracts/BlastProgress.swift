public import Delivery

/// How far a blast is, on `rollcall.blast.progress.v1` (key: the blast; compacted). Published by the owner of one
/// partition only; the counts sum to the audience in every record.
public struct BlastProgressRecord: Sendable, Hashable {
    public static let type = "rollcall.blast.progress.v1"

    public let blast: BlastID
    public let district: DistrictID
    public let audience: Int64
    /// How many deliveries have exactly this set of facts.
    public let counts: [DeliveryFacts: Int64]
    /// When the counts were true, by the database's clock.
    public let atMicroseconds: Int64

    public init(
        blast: BlastID, district: DistrictID, audience: Int64, counts: [DeliveryFacts: Int64], atMicroseconds: Int64
    ) {
        self.blast = blast
        self.district = district
        self.audience = audience
        self.counts = counts
        self.atMicroseconds = atMicroseconds
    }

    public var isSettled: Bool { counts.allSatisfy { $0.key.isFinal || $0.value == 0 } }

    public var attributes: CloudEventAttributes {
        CloudEventAttributes(
            id: "progress/\(blast)/\(atMicroseconds)", source: "/rollcall/status-projector", type: Self.type,
            timeMicroseconds: atMicroseconds, subject: blast.description)
    }

    public var key: [UInt8] { Array(blast.description.utf8) }

    public func value() throws -> [UInt8] {
        let rows = counts.filter { $0.value != 0 }.sorted { $0.key.bits < $1.key.bits }
        return try StrictJSON.encode(
            Body(
                blast_id: blast.description, district: district.number, audience: audience, settled: isSettled,
                as_of: Timestamp.string(microseconds: atMicroseconds),
                counts: rows.map { .init(facts: $0.key.bits, status: $0.key.canonicalStatus.name, n: $0.value) }))
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Body: Codable {
        struct Row: Codable {
            let facts: Int64
            let status: String
            let n: Int64
        }
        let blast_id: String
        let district: Int64
        let audience: Int64
        let settled: Bool
        let as_of: String
        let counts: [Row]
    }
}
