import HTTPTypes
import Hummingbird
import Runtime

/// Lets signed-in people in and sends others to the sign-in page.
struct Gate: Sendable {
    let keys: KeyRing
    let sessions: Sessions

    /// The signed-in person who may read, if there is one.
    func caller(of request: Request) async throws -> Caller? {
        let now = WallClock.nowMicroseconds() / 1_000_000
        guard let keyID = sessions.keyID(of: request, nowSeconds: now),
            let caller = try await keys.caller(keyID: keyID), caller.has(.read) || caller.has(.admin)
        else { return nil }
        return caller
    }

    /// Answers with `page`, or with the way to the sign-in page and back.
    func entering(_ request: Request, _ page: (Caller) async throws -> Response) async throws -> Response {
        guard let caller = try await caller(of: request) else {
            let next = FormFields.encode(["next": request.method == .get ? request.uri.string : nil])
            return Self.redirect(to: next.isEmpty ? "/sign-in" : "/sign-in?\(next)")
        }
        return try await page(caller)
    }

    static func redirect(to path: String) -> Response { Response(status: .seeOther, headers: [.location: path]) }
}

/// Signing in with a key, and out again.
struct SignInRoutes: Sendable {
    let gate: Gate
    let site: Site

    func register<Context: RequestContext & Sendable>(on router: Router<Context>) {
        router.get("/sign-in") { request, _ in
            let next = Self.localPath(try FormFields.query(request)["next"])
            if try await gate.caller(of: request) != nil { return Gate.redirect(to: next) }
            return site.page("signin", Self.values(next: next))
        }
        router.post("/sign-in") { request, _ in try await signIn(request) }
        router.post("/sign-out") { request, _ in
            guard request.isSameSite else { throw ReportProblems.crossSite }
            var response = Gate.redirect(to: "/sign-in")
            response.headers[.setCookie] = Sessions.noCookie(secure: request.isSecure)
            return response
        }
    }

    private func signIn(_ request: Request) async throws -> Response {
        guard request.isSameSite else { throw ReportProblems.crossSite }
        let fields = try await FormFields.body(request)
        let next = Self.localPath(fields["next"])
        guard let caller = try await gate.keys.caller(presenting: fields["key"]?.trimmed ?? "") else {
            return refuse("This key is not known here, or it has been revoked. Copy the whole key, from rck_ on.", next)
        }
        guard caller.has(.read) || caller.has(.admin) else {
            return refuse("This key may not read reports. Ask for one with the scope read.", next)
        }
        var response = Gate.redirect(to: next)
        response.headers[.setCookie] = gate.sessions.cookie(
            keyID: caller.keyID, nowSeconds: WallClock.nowMicroseconds() / 1_000_000, secure: request.isSecure)
        return response
    }

    private func refuse(_ reason: String, _ next: String) -> Response {
        site.page("signin", Self.values(next: next).merging(["error": reason]) { $1 }, status: .unauthorized)
    }

    private static func values(next: String) -> PageValues { ["title": "Sign in", "next": next] }

    /// A path of this site, never another site's address.
    private static func localPath(_ text: String?) -> String {
        guard let text, text.hasPrefix("/"), !text.hasPrefix("//"), text.utf8.count <= 1000,
            text.utf8.allSatisfy({ (0x21...0x7e).contains($0) && $0 != UInt8(ascii: "\\") }),
            !text.hasPrefix("/sign-"), !text.contains("/live")
        else { return "/" }
        return text
    }
}
