import Crypto
import Foundation

/// `X-Twilio-Signature`: HMAC-SHA-1 with the account's auth token over the address that was called and, for a form, its
/// parameters in order of name.
public struct TwilioSignature: Sendable {
    private let key: SymmetricKey

    public init(authToken: String) { key = SymmetricKey(data: Array(authToken.utf8)) }

    /// The value for a request. A value that a parameter has twice counts once, and its values are in order.
    ///
    /// - Parameter url: exactly as Twilio called it, with its query.
    public func sign(url: String, parameters: [(name: String, value: String)]) -> String {
        var text = Array(url.utf8)
        var values: [[UInt8]: Set<[UInt8]>] = [:]
        for parameter in parameters {
            values[Array(parameter.name.utf8), default: []].insert(Array(parameter.value.utf8))
        }
        for (name, values) in values.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            for value in values.sorted(by: { $0.lexicographicallyPrecedes($1) }) { text += name + value }
        }
        return Data(HMAC<Insecure.SHA1>.authenticationCode(for: text, using: key)).base64EncodedString()
    }

    /// Whether a holder of the token made the request. Constant time; no reason is given. Twilio may sign the address
    /// with its port or without, so both are tried.
    public func verify(_ signature: String, url: String, parameters: [(name: String, value: String)]) -> Bool {
        var isValid = false
        for spelling in Self.spellings(of: url) {
            let expected = Array(sign(url: spelling, parameters: parameters).utf8)
            let given = Array(signature.utf8)
            guard expected.count == given.count else { continue }
            if zip(expected, given).reduce(UInt8(0), { $0 | ($1.0 ^ $1.1) }) == 0 { isValid = true }
        }
        return isValid
    }

    /// With the port named, and without.
    private static func spellings(of url: String) -> [String] {
        let octets = Array(url.utf8)
        guard let scheme = url.range(of: "://") else { return [url] }
        let start = url.utf8.distance(from: url.startIndex, to: scheme.upperBound)
        let end = octets[start...].firstIndex { [0x2F, 0x3F, 0x23].contains($0) } ?? octets.endIndex
        let authority = octets[start..<end]
        let hostStart = authority.lastIndex(of: UInt8(ascii: "@")).map { $0 + 1 } ?? start
        let host = authority[hostStart...]
        let afterBracket = host.lastIndex(of: UInt8(ascii: "]")) ?? hostStart
        let bare: ArraySlice<UInt8>
        let port: [UInt8]
        if let colon = octets[afterBracket..<end].lastIndex(of: UInt8(ascii: ":")) {
            bare = authority[..<colon]
            port = Array(octets[colon..<end])
        } else {
            bare = authority
            port = Array((octets.starts(with: "https:".utf8) ? ":443" : ":80").utf8)
        }
        func spelled(_ authority: [UInt8]) -> String {
            String(decoding: octets[..<start] + authority + octets[end...], as: UTF8.self)
        }
        return [spelled(Array(bare)), spelled(Array(bare) + port)]
    }
}
