import Crypto
import Delivery

/// The form in which addresses are compared and published: HMAC-SHA-256 of the matching key under the district's own
/// key, so that hashes of two districts cannot be compared and a topic reader cannot try addresses.
public struct AddressHasher: Sendable {
    private let key: SymmetricKey
    public init(districtKey: [UInt8]) { key = SymmetricKey(data: districtKey) }

    public func hash(matchingKey: String) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: Array(matchingKey.utf8), using: key))
    }
}

/// The identity of what one recipient would read: rendered subject, text and HTML before any tracking rewrite (K-04).
public struct ContentHash: Sendable {
    /// What is hashed: each part behind its length.
    public private(set) var octets: [UInt8] = []

    public static func of(subject: String, text: String?, html: String?) -> [UInt8] {
        var hash = ContentHash(capacity: 0)
        for part in [subject, text ?? "", html ?? ""] {
            let bytes = Array(part.utf8)
            hash.begin(octets: bytes.count)
            hash.append(bytes.span)
        }
        return hash.finish()
    }

    /// For whoever has the parts in pieces: subject, text and HTML have to be begun and appended in this order.
    public init(capacity: Int) { octets.reserveCapacity(capacity) }

    /// - Parameter count: the octets that the next part has.
    public mutating func begin(octets count: Int) {
        octets += String(count).utf8
        octets.append(UInt8(ascii: ":"))
    }

    public mutating func append(_ piece: Span<UInt8>) { octets.append(piece) }

    public func finish() -> [UInt8] { SHA256Digest.of(octets) }
}

public enum SHA256Digest {
    public static func of(_ bytes: [UInt8]) -> [UInt8] {
        unsafe SHA256.hash(data: bytes).withUnsafeBytes { unsafe Array($0) }
    }
}

/// An API key as handed to a person: `rck_<key id>_<secret>`. Only the SHA-256 of the secret is stored.
public struct APIKey: Sendable {
    public let id: String
    public let secretSHA256: [UInt8]

    /// Reads a presented key; nil when it does not have the form of one.
    public init?(_ text: String) {
        let parts = text.split(separator: "_", omittingEmptySubsequences: false)
        guard text.utf8.count <= 128, parts.count == 3, parts[0] == "rck", parts[1].utf8.count == 16,
            parts[2].utf8.count == 64, Hexadecimal.bytes(String(parts[1])) != nil,
            Hexadecimal.bytes(String(parts[2])) != nil
        else { return nil }
        id = String(parts[1])
        secretSHA256 = SHA256Digest.of(Array(parts[2].utf8))
    }

    /// A new key with 256 random bits; the text is shown once and never stored.
    public static func generate() -> (text: String, key: APIKey)? {
        var random = SystemRandomNumberGenerator()
        func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &random) } }
        let text = "rck_\(Hexadecimal.string(bytes(8)))_\(Hexadecimal.string(bytes(32)))"
        return APIKey(text).map { (text, $0) }
    }

    /// Constant-time comparison with a stored digest.
    public func matches(secretSHA256 stored: [UInt8]) -> Bool {
        stored.count == secretSHA256.count && zip(stored, secretSHA256).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
