import Crypto
import HTTPTypes
import Hummingbird
import Runtime
import Signing

/// Signed-in people: a cookie that names an API key and an end, under a MAC. Nothing is stored; a revoked key ends its
/// sessions at once, because every request looks the key up.
struct Sessions: Sendable {
    static let lifetimeSeconds: Int64 = 8 * 3600
    private static let name = "rollcall_session"

    private let key: SymmetricKey

    /// - Parameter secret: nil makes a key of this process's own.
    init(secret: String?) {
        key =
            secret.map { SymmetricKey(data: SHA256.hash(data: Array(("rollcall session\u{0}" + $0).utf8))) }
            ?? SymmetricKey(size: .bits256)
    }

    /// The key id that a request's cookie proves.
    func keyID(of request: Request, nowSeconds: Int64) -> String? {
        for cookie in request.headers[values: .cookie].flatMap({ $0.split(separator: ";") }) {
            let pair = cookie.split(separator: "=", maxSplits: 1)
            guard pair.count == 2, pair[0].filter({ $0 != " " }) == Self.name else { continue }
            if let keyID = verify(String(pair[1]), nowSeconds: nowSeconds) { return keyID }
        }
        return nil
    }

    /// The header that signs in.
    func cookie(keyID: String, nowSeconds: Int64, secure: Bool) -> String {
        let text = "\(keyID).\(nowSeconds + Self.lifetimeSeconds)"
        let mac = Array(HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: key))
        return Self.header("\(text).\(Base64URL.encode(mac))", maxAge: Self.lifetimeSeconds, secure: secure)
    }

    /// The header that signs out.
    static func noCookie(secure: Bool) -> String { header("", maxAge: 0, secure: secure) }

    private func verify(_ value: String, nowSeconds: Int64) -> String? {
        let parts = value.split(separator: ".", omittingEmptySubsequences: false)
        guard value.utf8.count <= 200, parts.count == 3, let end = Int64(parts[1]),
            let mac = Base64URL.decode(String(parts[2])),
            HMAC<SHA256>.isValidAuthenticationCode(
                mac, authenticating: Array("\(parts[0]).\(parts[1])".utf8), using: key),
            nowSeconds < end
        else { return nil }
        return String(parts[0])
    }

    private static func header(_ value: String, maxAge: Int64, secure: Bool) -> String {
        "\(name)=\(value); Path=/; Max-Age=\(maxAge); HttpOnly; SameSite=Strict" + (secure ? "; Secure" : "")
    }
}

extension Request {
    /// Whether a proxy says that the person's browser speaks TLS.
    var isSecure: Bool { headers[.forwardedProto]?.lowercased() == "https" }

    /// Whether a form was sent from a page of this site. Browsers name the origin in every POST.
    var isSameSite: Bool {
        if let site = headers[.secFetchSite] { return site == "same-origin" || site == "none" }
        guard let origin = headers[.origin] else { return true }
        let parts = origin.split(separator: "/", omittingEmptySubsequences: true)
        return parts.count == 2 && head.authority.map { $0.lowercased() == parts[1].lowercased() } ?? false
    }
}

extension HTTPField.Name {
    fileprivate static let forwardedProto = Self("X-Forwarded-Proto")!
    fileprivate static let secFetchSite = Self("Sec-Fetch-Site")!
}
