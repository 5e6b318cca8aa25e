public import HTTPTypes
internal import Hummingbird

/// An error as the client sees it: RFC 9457 `application/problem+json`.
///
/// Throw it from any handler. `type` is `urn:rollcall:problem:<slug>`, stable and documented, for programs; `title` says
/// the same to people; `detail` says what, where and what to do in this case. `instance` names the request, so that a
/// report from a user finds the log record. Nothing in it may carry internals of the service.
public struct Problem: Error, Sendable {
    /// The value of an extra member such as `line` or `field`.
    public enum Member: Sendable, Hashable, ExpressibleByStringLiteral, ExpressibleByIntegerLiteral,
        ExpressibleByBooleanLiteral
    {
        case text(String)
        case number(Int)
        case truth(Bool)
        case texts([String])
        case objects([[String: Member]])

        public init(stringLiteral value: String) { self = .text(value) }
        public init(integerLiteral value: Int) { self = .number(value) }
        public init(booleanLiteral value: Bool) { self = .truth(value) }
    }

    public var slug: String
    public var title: String
    public var status: HTTPResponse.Status
    public var detail: String?
    /// Extra members; the names of RFC 9457's own members are left out.
    public var members: [String: Member]
    public var headers: HTTPFields

    public init(
        _ slug: String, title: String, status: HTTPResponse.Status, detail: String? = nil,
        members: [String: Member] = [:], headers: HTTPFields = [:]
    ) {
        self.slug = slug
        self.title = title
        self.status = status
        self.detail = detail
        self.members = members
        self.headers = headers
    }

    public var type: String { "urn:rollcall:problem:\(slug)" }

    /// Something this answer needs does not answer now: 503 with `Retry-After`.
    public static func unavailable(detail: String, retryAfterSeconds: Int = 5) -> Problem {
        Problem(
            "unavailable", title: "Temporarily unavailable", status: .serviceUnavailable, detail: detail,
            headers: [.retryAfter: String(retryAfterSeconds)])
    }

    static let ownMembers: Set<String> = ["type", "title", "status", "detail", "instance"]

    func response(instance: String) -> Response {
        var json = JSONWriter()
        json.member("type", type)
        json.member("title", title)
        json.member("status", status.code)
        if let detail { json.member("detail", detail) }
        json.member("instance", instance)
        Self.write(members.filter { !Self.ownMembers.contains($0.key) }, into: &json)
        var headers = headers
        headers[.contentType] = "application/problem+json"
        return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: json.finish())))
    }

    private static func write(_ members: [String: Member], into json: inout JSONWriter) {
        for (name, member) in members.sorted(by: { $0.key < $1.key }) {
            switch member {
            case .text(let text): json.member(name, text)
            case .number(let number): json.member(name, number)
            case .truth(let truth): json.member(name, truth)
            case .texts(let texts): json.member(name, json: JSONWriter.array(texts.map(JSONWriter.text)))
            case .objects(let objects):
                json.member(
                    name,
                    json: JSONWriter.array(
                        objects.map { object in
                            var item = JSONWriter()
                            write(object, into: &item)
                            return item.finish()
                        }))
            }
        }
    }
}
