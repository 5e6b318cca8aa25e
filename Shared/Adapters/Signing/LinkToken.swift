import Crypto
public import Delivery
import Foundation

/// Secrets for tokens, by key number, newest first in use. Old keys keep verifying until they are removed.
public struct TokenKeys: Sendable {
    /// Each already keyed: a token then costs its own octets only.
    private let keys: [UInt8: TokenMAC]
    private let current: (number: UInt8, key: TokenMAC)

    /// Reads `number:hexadecimal secret` items; the highest number signs. A secret has at least 32 octets.
    public init(_ items: [String]) throws(SigningError) {
        var keys: [UInt8: TokenMAC] = [:]
        for item in items {
            let parts = item.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, let number = UInt8(parts[0]), let secret = Hexadecimal.bytes(String(parts[1])),
                secret.count >= 32
            else {
                throw SigningError(
                    "a token key is written as number:secret, the secret being 64 or more hexadecimal digits")
            }
            keys[number] = TokenMAC(key: secret)
        }
        guard let current = keys.max(by: { $0.key < $1.key }) else { throw SigningError("no token key is given") }
        self.keys = keys
        self.current = (current.key, current.value)
    }

    /// Signs what `token` says, as URL-safe text without padding.
    public func sign(_ token: LinkToken) -> String { Base64URL.encode(signed(token)) }

    /// The octets of the same: key number, what the token says, MAC.
    public func signed(_ token: LinkToken) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(1 + LinkToken.payloadSize + TokenMAC.size)
        bytes.append(current.number)
        token.append(to: &bytes)
        current.key.append(to: &bytes)
        return bytes
    }

    /// The token that `text` proves, or nil. Compared in constant time; no reason is given.
    public func verify(_ text: String) -> LinkToken? {
        guard text.utf8.count <= 128, let bytes = Base64URL.decode(text),
            bytes.count == 1 + LinkToken.payloadSize + TokenMAC.size, Base64URL.encode(bytes) == text,
            let key = keys[bytes[0]]
        else { return nil }
        let signed = bytes.dropLast(TokenMAC.size)
        var expected = Array(signed)
        key.append(to: &expected)
        let difference = zip(expected, bytes).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) }
        guard difference == 0 else { return nil }
        return LinkToken(payload: Array(signed.dropFirst()))
    }
}

/// HMAC-SHA-256 (RFC 2104) cut to 128 bits, with the key's two blocks hashed once.
///
/// `HMAC` keeps them too, but hashes through generic code that takes half as long again; every tracked link of every
/// message pays for it.
struct TokenMAC: Sendable {
    static let size = 16

    private let inner: SHA256
    private let outer: SHA256

    init(key: [UInt8]) {
        var block = key.count > SHA256.blockByteCount ? SHA256Digest.of(key) : key
        block += Array(repeating: 0, count: SHA256.blockByteCount - block.count)
        var (inner, outer) = (SHA256(), SHA256())
        inner.update(data: block.map { $0 ^ 0x36 })
        outer.update(data: block.map { $0 ^ 0x5C })
        (self.inner, self.outer) = (inner, outer)
    }

    /// Appends the MAC of the octets.
    func append(to bytes: inout [UInt8]) {
        var (inner, outer) = (inner, outer)
        inner.update(data: bytes)
        unsafe inner.finalize().withUnsafeBytes { unsafe outer.update(bufferPointer: $0) }
        unsafe outer.finalize().withUnsafeBytes { unsafe bytes.append(contentsOf: $0.prefix(Self.size)) }
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

    func append(to bytes: inout [UInt8]) {
        bytes.append(purpose.rawValue)
        bytes.append(number: district.number)
        bytes.append(number: delivery.blast.high)
        bytes.append(number: delivery.blast.low)
        bytes.append(number: delivery.recipientNumber)
        bytes.append(number: link)
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
}

/// What is wrong with a key or a signature, in words that give no secret away.
public struct SigningError: Error, Sendable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}
