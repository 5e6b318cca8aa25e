import Contracts
import Delivery
import HTTPTypes
import Hummingbird
import Mail
import NIOCore
import Runtime
import Signing

/// How a draft gets its list: whole, or in parts that are put together.
extension IntakeRoutes {
    func registerLists<Context: RequestContext & Sendable>(on router: Router<Context>) {
        router.put("/v1/blasts/:blast/recipients") { request, context in try await upload(request, context) }
        router.put("/v1/blasts/:blast/recipients/parts/:part") { request, context in
            try await putPart(request, context)
        }
        router.get("/v1/blasts/:blast/recipients/parts") { request, context in
            let caller = try await authenticate(request, .send)
            return try Self.json(try await parts(context, caller).listing())
        }
        router.delete("/v1/blasts/:blast/recipients/parts") { request, context in
            let caller = try await authenticate(request, .send)
            try await parts(context, caller).discard()
            return Response(status: .noContent)
        }
        router.put("/v1/blasts/:blast/recipients/commit") { request, context in try await commit(request, context) }
    }

    private func upload(_ request: Request, _ context: some RequestContext) async throws -> Response {
        let caller = try await authenticate(request, .send)
        let blast = try Self.known(Self.blast(context))
        let format = try Self.listFormat(request.headers[.contentType])
        let isGzip = try Self.isGzip(request.headers[.contentEncoding])
        return try await slots.withSlot(of: caller.district) {
            let upload = RecipientUpload(
                blast: blast, format: format, isGzip: isGzip, caller: caller, limits: limits, pool: uploads,
                logger: logger)
            return try Self.json(
                try await upload.run(
                    request.body, contentLength: request.headers[.contentLength].flatMap { Int($0) }))
        }
    }

    private func parts(_ context: some RequestContext, _ caller: Caller) throws -> ListParts {
        ListParts(
            blast: try Self.known(Self.blast(context)), caller: caller, limits: limits.list, pool: pool)
    }

    private func putPart(_ request: Request, _ context: some RequestContext) async throws -> Response {
        let caller = try await authenticate(request, .send)
        let parts = try parts(context, caller)
        guard let number = context.parameters.get("part").flatMap({ Int32($0) }),
            (1...Int32(ListParts.countMax)).contains(number)
        else {
            throw Problem(
                "bad-part", title: "No such part", status: .badRequest,
                detail: "Parts are numbered from 1 to \(ListParts.countMax).")
        }
        // A part is held in memory: no more of them at once than whole lists.
        return try await slots.withSlot(of: caller.district) {
            let content = try await collect(request, upTo: ListParts.partOctets)
            guard !content.isEmpty else {
                throw Problem(
                    "bad-part", title: "The part is empty", status: .badRequest,
                    detail: "A part has at least one octet.")
            }
            try Self.checkDigest(request.headers[.contentDigest], content)
            return try Self.json(try await parts.put(number, content))
        }
    }

    private func commit(_ request: Request, _ context: some RequestContext) async throws -> Response {
        let caller = try await authenticate(request, .send)
        let parts = try parts(context, caller)
        try Self.requireJSON(request)
        var reader = MemberReader(try IntakeProblems.object(try await collect(request, upTo: 4096)))
        let count = reader.whole("parts", in: 1...ListParts.countMax, required: true)
        let type = reader.text("type", required: true, octets: 100)
        let encoding = reader.word("encoding", oneOf: ["identity", "gzip"])
        reader.refuseUnknown()
        guard reader.faults.isEmpty, let count else { throw IntakeProblems.members(reader.faults) }
        let format = try Self.listFormat(type)
        let body = try await parts.body(count: Int64(count))
        return try await slots.withSlot(of: caller.district) {
            let upload = RecipientUpload(
                blast: parts.blast, format: format, isGzip: encoding == "gzip", caller: caller, limits: limits,
                pool: uploads, logger: logger)
            return try Self.json(try await upload.run(body, contentLength: nil))
        }
    }

    /// RFC 9530: what arrived has to be what was sent.
    static func checkDigest(_ header: String?, _ content: [UInt8]) throws(Problem) {
        guard let header else { return }
        let expected = header.split(separator: ",").map { $0.filter { $0 != " " } }
            .first { $0.lowercased().hasPrefix("sha-256=:") }
        guard let expected, expected.hasSuffix(":") else {
            throw Problem(
                "bad-digest", title: "Content-Digest cannot be checked", status: .badRequest,
                detail: "Write it as Content-Digest: sha-256=:BASE64:, or leave it out.")
        }
        let digest = Base64.encode(SHA256Digest.of(content)[...])
        guard Array(expected.utf8.dropFirst("sha-256=:".utf8.count).dropLast()) == digest else {
            throw Problem(
                "digest-mismatch", title: "The content was damaged on its way", status: .badRequest,
                detail: "The octets that arrived do not have the announced SHA-256. Send the part again.")
        }
    }

    static func listFormat(_ contentType: String?) throws(Problem) -> ListFormat {
        switch try mediaType(contentType) {
        case "text/csv": return .csv
        case "application/x-ndjson": return .ndjson
        default:
            throw IntakeProblems.unsupported(
                "Send the list as text/csv or application/x-ndjson.", accepted: ["text/csv", "application/x-ndjson"])
        }
    }

    private static func isGzip(_ encoding: String?) throws(Problem) -> Bool {
        switch encoding?.lowercased() {
        case nil, "identity": return false
        case "gzip", "x-gzip": return true
        default:
            throw IntakeProblems.unsupported(
                "A list may be compressed with gzip, and with nothing else.", accepted: ["gzip", "identity"])
        }
    }
}

extension HTTPField.Name {
    static let contentDigest = HTTPField.Name("Content-Digest")!
}
