/// Octets that nobody can use, put aside for somebody to look at, on `rollcall.dead-letters.v1` (key: where they came
/// from).
///
/// Written at least once: the same octets from the same place always have the same `id`. The value is what was found, as
/// it was, cut to `valueMaxOctets`; it can be anything, so no `content-type` is stated.
public struct DeadLetter: Sendable, Hashable {
    public static let type = "rollcall.record.parked.v1"
    public static let reasonHeader = "rollcall-reason"
    /// A broker refuses records that are much larger, and one that cannot be parked would stop its partition.
    public static let valueMaxOctets = 64 << 10
    public static let reasonMaxScalars = 200

    public let id: String
    /// The service that put it aside, as `/rollcall/<service>`.
    public let source: String
    /// Where it came from: `<topic>/<partition>`, or the way in.
    public let origin: String
    public let value: [UInt8]?
    /// Why, in words.
    public let reason: String
    public let atMicroseconds: Int64

    /// A record of a topic. Offsets mean something within one cluster only, so its id is part of `id`.
    public init(
        topic: String, partition: Int32, offset: Int64, clusterID: String, value: [UInt8]?, reason: String,
        source: String, atMicroseconds: Int64
    ) {
        self.init(
            origin: "\(topic)/\(partition)", id: "dead/\(clusterID)/\(topic)/\(partition)/\(offset)", value: value,
            reason: reason, source: source, atMicroseconds: atMicroseconds)
    }

    /// Part of a request that came in another way.
    /// - Parameter digest: of all octets, in hexadecimal.
    public init(
        origin: String, digest: String, value: [UInt8], reason: String, source: String, atMicroseconds: Int64
    ) {
        self.init(
            origin: origin, id: "dead/\(origin)/\(digest)", value: value, reason: reason, source: source,
            atMicroseconds: atMicroseconds)
    }

    private init(
        origin: String, id: String, value: [UInt8]?, reason: String, source: String, atMicroseconds: Int64
    ) {
        self.id = id
        self.source = source
        self.origin = origin
        self.value = value.map { Array($0.prefix(Self.valueMaxOctets)) }
        self.reason = String(String.UnicodeScalarView(reason.unicodeScalars.prefix(Self.reasonMaxScalars)))
        self.atMicroseconds = atMicroseconds
    }

    public var attributes: CloudEventAttributes {
        CloudEventAttributes(
            id: id, source: source, type: Self.type, timeMicroseconds: atMicroseconds, subject: origin)
    }

    /// The attributes without `content-type`, and the reason.
    public var headers: [(name: String, value: String)] {
        attributes.headers.filter { $0.name != "content-type" } + [(Self.reasonHeader, reason)]
    }

    public var key: [UInt8] { Array(origin.utf8) }
}
