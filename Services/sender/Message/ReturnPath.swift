import Delivery
import Signing

/// Names of one delivery in places that may fold case and are short: the local part of a return path and the
/// Message-ID.
enum ReturnPath {
    /// `b+<token>`: blast, recipient, key number and 56 bits of the delivery token's MAC in lower-case base32; 47
    /// octets. Whoever gets a bounce for it can tell the delivery, and whether we wrote it.
    /// - Parameter signed: the octets of the delivery's token.
    static func localPart(_ delivery: DeliveryID, signed: [UInt8]) -> String {
        var octets = identity(of: delivery)
        octets += signed.prefix(1)
        octets += signed.suffix(16).prefix(7)
        return "b+" + Base32.encode(octets)
    }

    /// The left side of the Message-ID: the same for every attempt of one delivery, so that mailboxes which collapse
    /// equal ids show a repeated message once.
    static func messageID(_ delivery: DeliveryID) -> String { Base32.encode(identity(of: delivery)) }

    private static func identity(of delivery: DeliveryID) -> [UInt8] {
        var octets: [UInt8] = []
        octets.reserveCapacity(28)
        octets.append(number: delivery.blast.high)
        octets.append(number: delivery.blast.low)
        octets.append(number: delivery.recipientNumber)
        return octets
    }
}
