import Delivery
import Signing

/// Names of one delivery in places that may fold case and are short: the local part of a return path and the
/// Message-ID.
enum ReturnPath {
    /// `b+<token>`: blast, recipient, key number and 56 bits of the delivery token's MAC in lower-case base32; 47
    /// octets. Whoever gets a bounce for it can tell the delivery, and whether we wrote it.
    static func localPart(district: DistrictID, delivery: DeliveryID, keys: TokenKeys) -> String {
        let signed = keys.signed(LinkToken(purpose: .delivery, district: district, delivery: delivery))
        return "b+" + Base32.encode(identity(of: delivery) + signed.prefix(1) + signed.suffix(16).prefix(7))
    }

    /// The left side of the Message-ID: the same for every attempt of one delivery, so that mailboxes which collapse
    /// equal ids show a repeated message once.
    static func messageID(_ delivery: DeliveryID) -> String { Base32.encode(identity(of: delivery)) }

    private static func identity(of delivery: DeliveryID) -> [UInt8] {
        octets(delivery.blast.high) + octets(delivery.blast.low)
            + octets(UInt64(UInt32(bitPattern: delivery.recipientNumber))).suffix(4)
    }

    private static func octets(_ word: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(56 - $0 * 8)) }
    }
}
