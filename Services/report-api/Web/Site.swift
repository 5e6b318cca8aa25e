import HTTPTypes
import Hummingbird
import Mail
import Mustache
import NIOCore
import Runtime
import Signing

/// What a template shows: texts, truths, and lists and groups of them.
typealias PageValues = [String: Any]

/// The templates and the files of the pages, all of them part of the program.
struct Site: Sendable {
    private struct Asset: Sendable {
        let type: String
        let octets: [UInt8]
    }

    private let library: MustacheLibrary
    private let assets: [String: Asset]
    private let version: String

    init() throws {
        MustacheContentTypes.register(MarkupContent(), named: MarkupContent.name)
        var library = MustacheLibrary()
        for (name, octets) in Self.templates {
            // Escaping is declared per template; a part of a page does not take it over from the whole.
            let text = "{{% CONTENT_TYPE:\(MarkupContent.name)}}" + String(decoding: octets, as: UTF8.self)
            try library.register(text, named: name)
        }
        self.library = library
        assets = [
            "style.css": Asset(type: "text/css; charset=utf-8", octets: PackageResources.style_css),
            "live.js": Asset(type: "text/javascript; charset=utf-8", octets: PackageResources.live_js),
            "icon.svg": Asset(type: "image/svg+xml", octets: PackageResources.icon_svg),
        ]
        let all = PackageResources.style_css + PackageResources.live_js + PackageResources.icon_svg
        version = Hexadecimal.string(SHA256Digest.of(all).prefix(6))
    }

    private static let templates: [(String, [UInt8])] = [
        ("top", PackageResources.top_mustache), ("bottom", PackageResources.bottom_mustache),
        ("pager", PackageResources.pager_mustache), ("documents", PackageResources.documents_mustache),
        ("blast", PackageResources.blast_mustache),
        ("live", PackageResources.live_mustache), ("state", PackageResources.state_mustache),
        ("summary", PackageResources.summary_mustache), ("results", PackageResources.results_mustache),
        ("delivery", PackageResources.delivery_mustache), ("blacklist", PackageResources.blacklist_mustache),
        ("command", PackageResources.command_mustache), ("signin", PackageResources.signin_mustache),
        ("problem", PackageResources.problem_mustache), ("settings", PackageResources.settings_mustache),
        ("approve", PackageResources.approve_mustache),
    ]

    func register<Context: RequestContext & Sendable>(on router: Router<Context>) {
        router.get("/assets/:name") { _, context in
            guard let asset = context.parameters.get("name").flatMap({ assets[$0] }) else {
                throw Problem("not-found", title: "Not found", status: .notFound)
            }
            return Response(
                status: .ok,
                headers: [.contentType: asset.type, .cacheControl: "public, max-age=31536000, immutable"],
                body: ResponseBody(byteBuffer: ByteBuffer(bytes: asset.octets)))
        }
    }

    /// The text of a template with its values in place, all of them escaped.
    func render(_ template: String, _ values: PageValues) -> String {
        var values = values
        values["version"] = version
        return library.render(values, withTemplate: template) ?? ""
    }

    func page(_ template: String, _ values: PageValues, status: HTTPResponse.Status = .ok) -> Response {
        html(render(template, values), status: status)
    }

    func html(_ text: String, status: HTTPResponse.Status = .ok) -> Response {
        Response(
            status: status,
            headers: [
                .contentType: "text/html; charset=utf-8", .contentSecurityPolicy: Self.policy,
                .cacheControl: "no-store",
                // Without it a browser hides the origin of our own forms from us.
                .referrerPolicy: "same-origin",
            ], body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }

    func problem(_ problem: Problem) -> Response {
        var response = page(
            "problem",
            ["title": problem.title, "detail": problem.detail ?? "", "isGone": problem.status == .notFound],
            status: problem.status)
        for field in problem.headers where field.name != .contentType { response.headers[field.name] = field.value }
        return response
    }

    /// Nothing but our own files; no script or style inside a page.
    private static let policy = """
        default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
        form-action 'self'; base-uri 'none'; frame-ancestors 'none'
        """
}

/// How templates escape.
struct MarkupContent: MustacheContentType {
    static let name = "ROLLCALL_MARKUP"

    func escapeText(_ text: String) -> String { MarkupText.escape(text) }
}

extension HTTPField.Name {
    fileprivate static let referrerPolicy = Self("Referrer-Policy")!
}
