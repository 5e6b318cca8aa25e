import Crypto
import Foundation

/// Signatures of the Standard Webhooks specification 1.0: HMAC-SHA-256 over `id.timestamp.body`.
public struct StandardWebhook: Sendable {
    /// How far a sender's clock may be off; also how long a captured request stays usable.
    public static let toleranceSeconds: Int64 = 300

    private let secrets: [SymmetricKey]

    /// - Parameter secrets: `whsec_` and base64, as the specification writes them; several during a rotation, the
    ///   first signs.
    public init(secrets: [String]) throws(SigningError) {
        var keys: [SymmetricKey] = []
        for secret in secrets {
            guard secret.hasPrefix("whsec_"), let bytes = Data(base64Encoded: String(secret.dropFirst(6))),
                (24...64).contains(bytes.count)
            else { throw SigningError("a webhook secret is written whsec_ and then 24 to 64 octets in base64") }
            keys.append(SymmetricKey(data: bytes))
        }
        guard !keys.isEmpty else { throw SigningError("no webhook secret is given") }
        self.secrets = keys
    }

    /// The value of `webhook-signature`.
    public func sign(id: String, timestampSeconds: Int64, body: [UInt8]) -> String {
        "v1,"
            + Data(mac(id: id, timestamp: String(timestampSeconds), body: body, key: secrets[0])).base64EncodedString()
    }

    /// Whether the request is from a holder of a secret and fresh. Constant time per signature; no reason is given.
    public func verify(id: String, timestamp: String, signatures: String, body: [UInt8], nowSeconds: Int64) -> Bool {
        guard !id.isEmpty, id.utf8.count <= 128, !id.utf8.contains(UInt8(ascii: ".")), let seconds = Int64(timestamp),
            String(seconds) == timestamp, seconds.subtractingReportingOverflow(nowSeconds).overflow == false,
            (seconds - nowSeconds).magnitude <= Self.toleranceSeconds
        else { return false }
        var isValid = false
        for signature in signatures.split(separator: " ").prefix(8) {
            let parts = signature.split(separator: ",", maxSplits: 1)
            guard parts.count == 2, parts[0] == "v1", let given = Data(base64Encoded: String(parts[1])) else {
                continue
            }
            for key in secrets {
                let expected = mac(id: id, timestamp: timestamp, body: body, key: key)
                guard given.count == expected.count else { continue }
                if zip(given, expected).reduce(UInt8(0), { $0 | ($1.0 ^ $1.1) }) == 0 { isValid = true }
            }
        }
        return isValid
    }

    private func mac(id: String, timestamp: String, body: [UInt8], key: SymmetricKey) -> [UInt8] {
        var hmac = HMAC<SHA256>(key: key)
        hmac.update(data: Array("\(id).\(timestamp).".utf8))
        hmac.update(data: body)
        return Array(hmac.finalize())
    }
}
