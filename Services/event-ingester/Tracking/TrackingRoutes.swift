import Delivery
import HTTPTypes
import Hummingbird
import NIOCore
import Runtime
import Signing

/// `GET /o/{token}`, the picture that tells of an open, and `GET /c/{token}`, the way to a tracked link's destination.
///
/// The picture comes whatever the token is and whatever else is down: it tells nobody whether a token is good. A click
/// leads to the stored destination of its link and nowhere else: nothing of the request's query or headers is used.
struct TrackingRoutes: Sendable {
    let tokens: TokenKeys
    let hits: HitBuffer
    let links: LinkCache

    func add(to router: Router<ServiceRequestContext>) {
        router.get("o/:token") { request, context in await open(request, context) }
        router.get("c/:token") { request, context in try await click(request, context) }
    }

    private func open(_ request: Request, _ context: ServiceRequestContext) async -> Response {
        var text = context.parameters.get("token") ?? ""
        if text.hasSuffix(".gif") { text.removeLast(4) }
        if let token = tokens.verify(text), token.purpose == .open { await record(token, .open, request) }
        return Response(
            status: .ok, headers: [.contentType: "image/gif"],
            body: .init(byteBuffer: ByteBuffer(bytes: Self.transparentGIF)))
    }

    private func click(_ request: Request, _ context: ServiceRequestContext) async throws -> Response {
        guard let token = tokens.verify(context.parameters.get("token") ?? ""), token.purpose == .click else {
            throw Self.unknown
        }
        switch await links.destination(of: token.delivery.blast, link: token.link) {
        case .destination(let url):
            await record(token, .click, request)
            return Response(status: .found, headers: [.location: url])
        case .unknown: throw Self.unknown
        case .notNow:
            throw Problem.unavailable(
                detail: "The destination of this link cannot be looked up now.", retryAfterSeconds: 2)
        }
    }

    private func record(_ token: LinkToken, _ kind: Hit.Kind, _ request: Request) async {
        await hits.keep(
            Hit(
                delivery: token.delivery, district: token.district, kind: kind, link: kind == .click ? token.link : nil,
                method: request.method == .head ? "HEAD" : "GET", userAgent: request.headers[.userAgent]))
    }

    private static let unknown = Problem(
        "not-found", title: "Not found", status: .notFound, detail: "There is nothing at this path.")

    /// One transparent pixel in 43 octets.
    static let transparentGIF: [UInt8] = [
        0x47, 0x49, 0x46, 0x38, 0x39, 0x61, 0x01, 0x00, 0x01, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF,
        0xFF,
        0x21, 0xF9, 0x04, 0x01, 0x00, 0x00, 0x00, 0x00, 0x2C, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x01, 0x00, 0x00,
        0x02,
        0x02, 0x44, 0x01, 0x00, 0x3B,
    ]
}
