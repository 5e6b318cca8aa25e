import Crypto
import Foundation

/// Who we are to Amazon. Never part of a description.
public struct AWSCredentials: Sendable, CustomStringConvertible, CustomDebugStringConvertible {
    let accessKey: String
    let secret: String
    let sessionToken: String?

    /// Nil unless key and secret are printable ASCII without spaces.
    public init?(accessKey: String, secret: String, sessionToken: String? = nil) {
        for text in [accessKey, secret, sessionToken ?? "-"] {
            guard (1...4096).contains(text.utf8.count), text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                return nil
            }
        }
        self.accessKey = accessKey
        self.secret = secret
        self.sessionToken = sessionToken
    }

    public var description: String { "(credentials)" }
    public var debugDescription: String { description }
}

/// Signatures of Amazon's Signature Version 4 in headers: `AWS4-HMAC-SHA256`.
///
/// Limits: paths and queries are signed as they are given, so they have to be in canonical form already.
public struct AWSSignature: Sendable {
    public let credentials: AWSCredentials
    public let region: String
    public let service: String

    public init(credentials: AWSCredentials, region: String, service: String) {
        self.credentials = credentials
        self.region = region
        self.service = service
    }

    /// The headers of a request with those that sign it: `X-Amz-Date`, `X-Amz-Security-Token` where there is one, and
    /// `Authorization`. All headers given are signed, so `Host` has to be among them and nothing may change them.
    public func signed(
        _ method: String, path: String, query: String = "", headers: [(name: String, value: String)], body: [UInt8],
        unixSeconds: Int64
    ) -> [(name: String, value: String)] {
        let stamp = Self.stamp(unixSeconds)
        var headers = headers
        headers.append(("X-Amz-Date", stamp))
        if let token = credentials.sessionToken { headers.append(("X-Amz-Security-Token", token)) }
        let names = Set(headers.map { $0.name.lowercased() }).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let lines = names.map { name in
            let values = headers.filter { $0.name.lowercased() == name }.map { Self.trimmed($0.value) }
            return "\(name):\(values.joined(separator: ","))\n"
        }
        let signedNames = names.joined(separator: ";")
        let request = [
            method, path, query, lines.joined(), signedNames, Hexadecimal.string(SHA256Digest.of(body)),
        ].joined(separator: "\n")
        let scope = "\(stamp.prefix(8))/\(region)/\(service)/aws4_request"
        let text = [
            "AWS4-HMAC-SHA256", stamp, scope, Hexadecimal.string(SHA256Digest.of(Array(request.utf8))),
        ].joined(separator: "\n")
        var key = Array("AWS4\(credentials.secret)".utf8)
        for part in [String(stamp.prefix(8)), region, service, "aws4_request", text] { key = Self.mac(part, key) }
        headers.append(
            (
                "Authorization",
                "AWS4-HMAC-SHA256 Credential=\(credentials.accessKey)/\(scope), SignedHeaders=\(signedNames), "
                    + "Signature=\(Hexadecimal.string(key))"
            ))
        return headers
    }

    private static func mac(_ text: String, _ key: [UInt8]) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: SymmetricKey(data: key)))
    }

    /// Without spaces at the ends, and none twice in a row.
    private static func trimmed(_ value: String) -> String {
        value.split(separator: " ").joined(separator: " ")
    }

    /// `20150830T123600Z`.
    static func stamp(_ unixSeconds: Int64) -> String {
        var day = unixSeconds / 86_400
        var second = unixSeconds % 86_400
        if second < 0 { (day, second) = (day - 1, second + 86_400) }
        // Days from 1 March of year 0, in eras of 400 years.
        let shifted = day + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let year = yearOfEra + era * 400 + (month < 10 ? 0 : 1)
        func digits(_ number: Int64, _ width: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
        }
        return digits(year, 4) + digits(month < 10 ? month + 3 : month - 9, 2)
            + digits(dayOfYear - (153 * month + 2) / 5 + 1, 2) + "T" + digits(second / 3600, 2)
            + digits(second / 60 % 60, 2) + digits(second % 60, 2) + "Z"
    }
}
