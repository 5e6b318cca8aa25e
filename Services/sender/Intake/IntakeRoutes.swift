import Contracts
import Delivery
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Postgres
import Runtime

/// The sender's public HTTP API: make a blast, give it its list, look at what sending means, send, and control sending.
///
/// Every request carries a district's API key and sees that district alone; another district's blast and one that does
/// not exist are the same answer. A request that is refused has changed nothing.
struct IntakeRoutes: Sendable {
    let pool: PostgresPool
    let uploads: PostgresPool
    let blasts: BlastStore
    let limits: IntakeLimits
    private let chunkSize: Int
    let slots: UploadSlots
    let composer: MessageComposer
    let testHandOver: TestMessage.HandOver
    let logger: Logger

    /// - Parameters:
    ///   - pool: logs in as `rollcall_intake`; for short requests.
    ///   - uploads: the same role; an upload keeps one of its connections for as long as the client sends.
    ///   - chunkSize: recipients per chunk (`sender.chunk.size`).
    ///   - composer: what dispatch will compose with, for previews and tests.
    ///   - testHandOver: hands a test message to the relay.
    init(
        pool: PostgresPool, uploads: PostgresPool, limits: IntakeLimits, chunkSize: Int, composer: MessageComposer,
        testHandOver: @escaping TestMessage.HandOver, logger: Logger
    ) {
        self.composer = composer
        self.testHandOver = testHandOver
        self.pool = pool
        self.uploads = uploads
        blasts = BlastStore(pool: pool)
        self.limits = limits
        self.chunkSize = chunkSize
        slots = UploadSlots(perDistrict: limits.uploadsPerDistrict)
        self.logger = logger
    }

    /// The longer deadline of uploads, for `HTTPLimits.deadlineOverride`.
    static func deadline(for request: HTTPRequest, limits: IntakeLimits) -> Duration? {
        let isLong =
            request.method == .put && (request.path?.contains("/recipients") ?? false)
            || request.method == .get && (request.path?.hasSuffix("/summary") ?? false)
            || request.method == .post && (request.path?.contains("/follow-up") ?? false)
        return isLong ? limits.uploadDeadline : nil
    }

    /// Ready means: the database answers as this role.
    func addChecks(to readiness: Readiness) {
        readiness.add("postgres.intake") { [pool] in
            _ = try await pool.query("SELECT 1 FROM blast LIMIT 1")
        }
    }

    func register<Context: RequestContext & Sendable>(on router: Router<Context>) {
        router.post("/v1/blasts") { request, _ in try await create(request) }
        router.get("/v1/blasts/:blast") { request, context in try await read(request, try Self.blast(context)) }
        router.delete("/v1/blasts/:blast") { request, context in try await delete(request, context) }
        router.get("/v1/blasts/:blast/summary") { request, context in try await summary(request, context) }
        router.post("/v1/blasts/:blast/send") { request, context in try await send(request, context) }
        registerLists(on: router)
        registerDrafts(on: router)
        registerControl(on: router)
    }
}

extension IntakeRoutes {
    private func create(_ request: Request) async throws -> Response {
        let caller = try await authenticate(request, .send)
        try Self.requireJSON(request)
        let body = try await collect(request, upTo: limits.blastOctets)
        let draft = try BlastDraft(json: body, limits: limits, nowMicroseconds: WallClock.nowMicroseconds())
        let document = try await blasts.create(draft, by: caller)
        var response = try Self.json(document, status: .created)
        response.headers[.location] = "/v1/blasts/\(document.blast_id)"
        return response
    }

    private func read(_ request: Request, _ blast: BlastID?) async throws -> Response {
        let caller = try await authenticate(request, .send, .read, .admin)
        return try Self.json(try await blasts.read(try Self.known(blast), by: caller))
    }

    private func delete(_ request: Request, _ context: some RequestContext) async throws -> Response {
        let caller = try await authenticate(request, .send)
        try await blasts.deleteDraft(try Self.known(Self.blast(context)), by: caller)
        return Response(status: .noContent)
    }

    private func summary(_ request: Request, _ context: some RequestContext) async throws -> Response {
        let caller = try await authenticate(request, .send, .read, .admin)
        let blast = try Self.known(Self.blast(context))
        return try Self.json(try await BlastSummary.read(blast, by: caller, composer: composer, pool: pool))
    }

    private func send(_ request: Request, _ context: some RequestContext) async throws -> Response {
        let caller = try await authenticate(request, .send)
        let blast = try Self.known(Self.blast(context))
        let body = try await collect(request, upTo: 4096)
        let order = try SendOrder(blast: blast, key: request.headers[.idempotencyKey], body: body)
        return try Self.json(
            try await order.place(
                by: caller, chunkSize: chunkSize, limits: limits, pool: pool),
            status: .accepted)
    }

}

extension IntakeRoutes {
    func authenticate(_ request: Request, _ scopes: Caller.Scope...) async throws -> Caller {
        try await Caller.authenticate(request, anyOf: scopes, pool: pool)
    }

    static func blast(_ context: some RequestContext) throws -> BlastID? {
        context.parameters.get("blast").flatMap { BlastID($0) }
    }

    static func known(_ blast: BlastID?) throws(Problem) -> BlastID {
        guard let blast else { throw IntakeProblems.noSuchBlast }
        return blast
    }

    func collect(_ request: Request, upTo limit: Int) async throws -> [UInt8] {
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw IntakeProblems.tooLarge(octets: limit)
        }
        var octets: [UInt8] = []
        for try await buffer in request.body {
            octets.append(contentsOf: buffer.readableBytesView)
            guard octets.count <= limit else { throw IntakeProblems.tooLarge(octets: limit) }
        }
        return octets
    }

    static func requireJSON(_ request: Request) throws(Problem) {
        try requirePlainEncoding(request)
        guard try mediaType(request.headers[.contentType]) == "application/json" else {
            throw IntakeProblems.unsupported(
                "Send the blast as application/json.", accepted: ["application/json"])
        }
    }

    private static func requirePlainEncoding(_ request: Request) throws(Problem) {
        guard let encoding = request.headers[.contentEncoding], encoding.lowercased() != "identity" else { return }
        throw IntakeProblems.unsupported(
            "The header Content-Encoding says the body is compressed; send it as it is.", accepted: ["identity"])
    }

    /// The type without its parameters, in lower case; a charset other than UTF-8 is refused.
    static func mediaType(_ contentType: String?) throws(Problem) -> String {
        let parts = (contentType ?? "").lowercased().split(separator: ";")
            .map { $0.filter { $0 != " " && $0 != "\t" && $0 != "\"" } }
        for parameter in parts.dropFirst() where parameter.hasPrefix("charset=") && parameter != "charset=utf-8" {
            throw IntakeProblems.unsupported("The charset is not UTF-8; save the text as UTF-8.", accepted: ["utf-8"])
        }
        return parts.first ?? ""
    }

    static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) throws -> Response {
        Response(
            status: status, headers: [.contentType: "application/json"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: try StrictJSON.encode(value))))
    }
}

extension HTTPField.Name {
    fileprivate static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
}
