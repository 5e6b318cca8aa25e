import Delivery
import Runtime

/// One request for a pixel or a tracked link, as it came. Whether a person made it is judged later.
///
/// The network address is not kept: it would say more about a family than an open is worth.
struct Hit: Sendable {
    enum Kind: String, Sendable, CaseIterable {
        case open, click
    }

    static let userAgentOctetsMax = 256

    let id: (high: UInt64, low: UInt64)
    let delivery: DeliveryID
    let district: DistrictID
    let kind: Kind
    /// The tracked link's number; nil for an open.
    let link: Int16?
    let atMicroseconds: Int64
    let method: String
    let userAgent: String?

    init(
        delivery: DeliveryID, district: DistrictID, kind: Kind, link: Int16?, method: String, userAgent: String?,
        atMicroseconds: Int64 = WallClock.nowMicroseconds()
    ) {
        // UUIDv7 (RFC 9562): hits of a moment lie together in the index.
        id = (
            high: UInt64(atMicroseconds / 1000) << 16 | 0x7000 | UInt64.random(in: 0...0xFFF),
            low: 1 << 63 | UInt64.random(in: 0...UInt64.max) >> 2
        )
        self.delivery = delivery
        self.district = district
        self.kind = kind
        self.link = link
        self.atMicroseconds = atMicroseconds
        self.method = method
        self.userAgent = userAgent.map { PlainText.line($0, octets: Self.userAgentOctetsMax) }
    }
}
