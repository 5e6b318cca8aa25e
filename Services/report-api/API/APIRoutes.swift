import Contracts
import Delivery
import HTTPTypes
import Hummingbird
import NIOCore
import Postgres
import Runtime

/// The JSON API under `/v1`: a bearer key, and the key's district alone. Another district's things, expired ones and
/// ones that never were are the same answer.
struct APIRoutes: Sendable {
    let pool: PostgresPool
    let keys: KeyRing
    let commands: CommandStore
    let commandWake: Wake
    let settings: SettingsStore
    let pastSlots: PastSlots

    private static let limits = 1...500

    func register<Context: RequestContext & Sendable>(on router: Router<Context>) {
        router.get("/v1/blasts") { request, _ in try await blasts(request) }
        router.get("/v1/blasts/:blast") { request, context in try await blast(request, context.parameters) }
        router.get("/v1/blasts/:blast/counts") { request, context in try await counts(request, context.parameters) }
        router.get("/v1/blasts/:blast/recipients") { request, context in
            try await recipients(request, context.parameters)
        }
        router.get("/v1/blasts/:blast/recipients/:number") { request, context in
            try await recipient(request, context.parameters)
        }
        router.get("/v1/settings") { request, _ in try await settings(request) }
        router.put("/v1/settings") { request, _ in try await change(request) }
        router.get("/v1/blacklist") { request, _ in try await blacklist(request) }
        router.post("/v1/blacklist/reset") { request, _ in try await reset(request) }
        router.get("/v1/commands/:command") { request, context in try await command(request, context.parameters) }
    }

    private func reader(_ request: Request) async throws -> Caller {
        let caller = try await keys.caller(of: request)
        try caller.require(.read, .admin)
        return caller
    }

    private func blasts(_ request: Request) async throws -> Response {
        let caller = try await reader(request)
        let fields = try FormFields.query(request)
        let limit = try fields.number("limit", default: 50, in: Self.limits)
        let before = try PageCursor.blast(fields["cursor"])
        let documents = try await pool.reading(caller.district) { connection in
            try await BlastDocument.page(before: before, limit: limit + 1, on: connection)
        }
        let page = documents.prefix(limit)
        return try Self.json(
            ListResource(
                items: page.map(BlastResource.init),
                next_cursor: documents.count > limit ? page.last.map { PageCursor.encode(blast: $0.id) } : nil))
    }

    private func blast(_ request: Request, _ parameters: Parameters) async throws -> Response {
        let caller = try await reader(request)
        let id = try Self.blastID(parameters)
        let past = try PastTime.asked(try FormFields.query(request))
        return try Self.json(BlastResource(try await document(id, at: past, caller)))
    }

    private func document(_ id: BlastID, at past: PastTime?, _ caller: Caller) async throws -> BlastDocument {
        try await pastSlots.withSlot(if: past != nil) {
            try await pool.reading(caller.district) { try await BlastDocument.read(id, at: past, on: $0) }
        }
    }

    private func counts(_ request: Request, _ parameters: Parameters) async throws -> Response {
        let caller = try await reader(request)
        let id = try Self.blastID(parameters)
        let fields = try FormFields.query(request)
        let past = try PastTime.asked(fields)
        let document = try await document(id, at: past, caller)
        let reading = try StatusReading.asked(fields, else: document.district.reading)
        let numbers = document.counts.entries.map { "\($0.facts.bits):\($0.n)" }.joined(separator: ",")
        let words = "\(reading.vocabulary.name) \(reading.lateBounce.rawValue) \(reading.opens.rawValue)"
        let state = "\(document.state.rawValue) \(StateText(document).waitsFor ?? "")"
        let tag = EntityTag(of: "\(document.id) \(words) \(state) \(numbers)")
        if tag.isKnown(to: request) { return tag.notModified }
        var response = try Self.json(CountsResource(document, reading))
        response.headers[.eTag] = tag.text
        return response
    }

    private func recipients(_ request: Request, _ parameters: Parameters) async throws -> Response {
        let caller = try await reader(request)
        let id = try Self.blastID(parameters)
        let fields = try FormFields.query(request)
        let past = try PastTime.asked(fields)
        return try await pastSlots.withSlot(if: past != nil) {
            try await pool.reading(caller.district) { connection in
                let document = try await BlastDocument.read(id, at: past, on: connection)
                let reading = try StatusReading.asked(fields, else: document.district.reading)
                let query = try RecipientQuery(fields, reading, limits: Self.limits)
                let page = try await query.run(document, at: past, on: connection)
                return try Self.json(
                    ListResource(
                        items: page.rows.map { RecipientResource($0, reading) },
                        next_cursor: page.next.map { PageCursor.encode(recipient: $0) }))
            }
        }
    }

    private func recipient(_ request: Request, _ parameters: Parameters) async throws -> Response {
        let caller = try await reader(request)
        let id = try Self.blastID(parameters)
        let fields = try FormFields.query(request)
        let past = try PastTime.asked(fields)
        return try await pool.reading(caller.district) { connection in
            let document = try await BlastDocument.read(id, on: connection).timed(past)
            let reading = try StatusReading.asked(fields, else: document.district.reading)
            let number = try Self.recipientNumber(parameters)
            let history = try await DeliveryHistory.read(number, of: document, at: past, on: connection)
            return try Self.json(DeliveryResource(document, history, reading))
        }
    }

    private func settings(_ request: Request) async throws -> Response {
        let caller = try await reader(request)
        return try Self.json(SettingsResource(try await settings.read(by: caller)))
    }

    private func change(_ request: Request) async throws -> Response {
        let caller = try await keys.caller(of: request)
        try caller.require(.admin)
        let octets = try await request.octets(upTo: 8192)
        let wanted: DistrictSettings
        do {
            wanted = try StrictJSON.decode(DistrictSettings.self, from: octets)
        } catch {
            throw ReportProblems.body(
                "Send a JSON object with the members vocabulary, late_bounce, opens and time_zone, and, to change them, "
                    + "quiet_hours and approval_above: \(error.reason).")
        }
        return try Self.json(SettingsResource(try await settings.change(to: wanted, by: caller)))
    }

    private func blacklist(_ request: Request) async throws -> Response {
        let caller = try await reader(request)
        let query = try BlacklistQuery(try FormFields.query(request), limits: Self.limits)
        let page = try await pool.reading(caller.district) { try await query.run(on: $0) }
        return try Self.json(
            ListResource(
                items: page.entries.map(BlacklistResource.init),
                next_cursor: page.next.map { PageCursor.encode(address: $0) }))
    }

    private struct Reset: Decodable {
        let address: String
        let reason: String
    }

    private func reset(_ request: Request) async throws -> Response {
        let caller = try await keys.caller(of: request)
        try caller.require(.admin)
        let octets = try await request.octets(upTo: 8192)
        let order: Reset
        do {
            order = try StrictJSON.decode(Reset.self, from: octets)
        } catch {
            throw ReportProblems.body("Send a JSON object with the members address and reason: \(error.reason).")
        }
        let id = try await commands.resetBlacklist(address: order.address, reason: order.reason, by: caller)
        commandWake.signal()
        var response = try Self.json(
            CommandResource(try await commands.find(id, by: caller)), status: .accepted)
        response.headers[.location] = "/v1/commands/\(id)"
        return response
    }

    private func command(_ request: Request, _ parameters: Parameters) async throws -> Response {
        let caller = try await reader(request)
        guard let id = parameters.get("command").flatMap({ BlastID($0) }) else {
            throw ReportProblems.noSuchCommand
        }
        return try Self.json(CommandResource(try await commands.find(id, by: caller)))
    }

    static func blastID(_ parameters: Parameters) throws(Problem) -> BlastID {
        guard let id = parameters.get("blast").flatMap({ BlastID($0) }) else { throw ReportProblems.noSuchBlast }
        return id
    }

    static func recipientNumber(_ parameters: Parameters) throws(Problem) -> Int32 {
        guard let number = parameters.get("number").flatMap({ Int32($0) }), number > 0 else {
            throw ReportProblems.noSuchRecipient
        }
        return number
    }

    private static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) throws -> Response {
        Response(
            status: status, headers: [.contentType: "application/json"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: try StrictJSON.encode(value))))
    }
}
