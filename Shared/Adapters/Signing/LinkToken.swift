import Crypto
public import Delivery
import Foundation

/// Secrets for tokens, by key number, newest first in use. Old keys keep verifying until they are removed.
public struct TokenKeys: Sendable {
    private let keys: [UInt8: SymmetricKey]
    private let current: UInt8

    /// Reads `number:hexadecimal secret` items; the highest number signs. A secret has at least 32 octets.
    public init(_ items: [String]) throws(SigningError) {
        var keys: [UInt8: SymmetricKey] = [:]
        for item in items {
            let parts = item.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, let number = UInt8(parts[0]), let secret = Hexadecimal.bytes(String(parts[1])),
                secret.count >= 32
            else {
                throw SigningError(
                    "a token key is written as number:secret, the secret being 64 or more hexadecimal digits")
            }
            keys[number] = SymmetricKey(data: secret)
        }
        guard let current = keys.keys.max() else { throw SigningError("no token key is given") }
        self.keys = keys
        self.current = current
    }

    /// Signs what `token` says, as URL-safe text without padding.
    public func sign(_ token: LinkToken) -> String { Base64URL.encode(signed(token)) }

    /// The octets of the same: key number, what the token says, MAC.
    public func signed(_ token: LinkToken) -> [UInt8] {
        var bytes = [current] + token.payload
        if let key = keys[current] { bytes += Self.mac(bytes, key) }
        return bytes
    }

    /// The token that `text` proves, or nil. Compared in constant time; no reason is given.
    public func verify(_ text: String) -> LinkToken? {
        guard text.utf8.count <= 128, let bytes = Base64URL.decode(text), bytes.count == 1 + LinkToken.payloadSize + 16,
            Base64URL.encode(bytes) == text, let key = keys[bytes[0]]
        else { return nil }
        let signed = Array(bytes.dropLast(16))
        let difference = zip(Self.mac(signed, key), bytes.suffix(16)).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) }
        guard difference == 0 else { return nil }
        return LinkToken(payload: Array(signed.dropFirst()))
    }

    private static func mac(_ bytes: [UInt8], _ key: SymmetricKey) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: bytes, using: key).prefix(16))
    }
}

/// What a link in a message stands for: district, blast, recipient, purpose and link are all under the MAC, so that no
/// token can be bent to another's.
public struct LinkToken: Sendable, Hashable {
    public enum Purpose: UInt8, Sendable {
        /// Names the delivery to the provider, which echoes it in its reports.
        case delivery = 1
        case open = 2
        case click = 3
        case unsubscribe = 4
        case acknowledge = 5
        case respond = 6
    }

    public let purpose: Purpose
    public let district: DistrictID
    public let delivery: DeliveryID
    /// The number of the tracked link; 0 when the purpose is not `click`.
    public let link: Int16

    public init(purpose: Purpose, district: DistrictID, delivery: DeliveryID, link: Int16 = 0) {
        self.purpose = purpose
        self.district = district
        self.delivery = delivery
        self.link = link
    }

    static let payloadSize = 1 + 8 + 16 + 4 + 2

    var payload: [UInt8] {
        [purpose.rawValue] + bigEndian(UInt64(bitPattern: district.number), 8) + bigEndian(delivery.blast.high, 8)
            + bigEndian(delivery.blast.low, 8) + bigEndian(UInt64(UInt32(bitPattern: delivery.recipientNumber)), 4)
            + bigEndian(UInt64(UInt16(bitPattern: link)), 2)
    }

    init?(payload: [UInt8]) {
        guard payload.count == Self.payloadSize, let purpose = Purpose(rawValue: payload[0]) else { return nil }
        func number(_ range: Range<Int>) -> UInt64 { payload[range].reduce(0) { $0 << 8 | UInt64($1) } }
        self.purpose = purpose
        district = DistrictID(Int64(bitPattern: number(1..<9)))
        delivery = DeliveryID(
            blast: BlastID(high: number(9..<17), low: number(17..<25)),
            recipientNumber: Int32(bitPattern: UInt32(truncatingIfNeeded: number(25..<29))))
        link = Int16(bitPattern: UInt16(truncatingIfNeeded: number(29..<31)))
    }

    private func bigEndian(_ value: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
    }
}

/// What is wrong with a key or a signature, in words that give no secret away.
public struct SigningError: Error, Sendable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}
