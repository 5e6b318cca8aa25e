import Delivery
import HTTPTypes
import Hummingbird
import Postgres
import Runtime

/// The pages. They work without JavaScript; with it, a page of a running blast brings itself up to date.
struct PageRoutes: Sendable {
    let pool: PostgresPool
    let gate: Gate
    let site: Site
    let commands: CommandStore
    let commandWake: Wake
    let pastSlots: PastSlots

    private static let pageSize = 50

    func register<Context: RequestContext & Sendable>(on router: Router<Context>) {
        router.get("/") { request, _ in try await gate.entering(request) { try await documents(request, $0) } }
        router.get("/blasts/:blast") { request, context in
            try await gate.entering(request) { try await blast(request, context.parameters, $0) }
        }
        router.get("/blasts/:blast/live") { request, context in
            try await gate.entering(request) { try await live(request, context.parameters, $0) }
        }
        router.get("/blasts/:blast/recipients/:number") { request, context in
            try await gate.entering(request) { try await delivery(request, context.parameters, $0) }
        }
        router.get("/blacklist") { request, _ in try await gate.entering(request) { try await blacklist(request, $0) } }
        router.post("/blacklist/reset") { request, _ in
            guard request.isSameSite else { throw ReportProblems.crossSite }
            return try await gate.entering(request) { try await reset(request, $0) }
        }
        router.get("/commands/:command") { request, context in
            try await gate.entering(request) { try await command(context.parameters, $0) }
        }
    }

    private func documents(_ request: Request, _ caller: Caller) async throws -> Response {
        let before = try PageCursor.blast(try FormFields.query(request)["cursor"])
        let (district, documents) = try await pool.reading(caller.district) { connection in
            (
                try await District.read(on: connection),
                try await BlastDocument.page(before: before, limit: Self.pageSize + 1, on: connection)
            )
        }
        let times = LocalTime(zone: district.timeZone)
        let page = documents.prefix(Self.pageSize)
        var values = Self.frame("Documents", district, times)
        values["onDocuments"] = true
        values["hasBlasts"] = !page.isEmpty
        values["blasts"] = page.map { document -> PageValues in
            [
                "id": document.id.description, "kind": document.title.kind, "subject": document.title.subject,
                "emergency": document.isEmergency,
                "time": times.values(document.sendRequestedAt ?? document.createdAt),
                "state": StateText(document).title, "audience": grouped(document.audience),
            ]
        }
        values["pager"] = Self.pager(
            first: before == nil ? nil : "/",
            next: documents.count > Self.pageSize
                ? page.last.map { "/?" + FormFields.encode(["cursor": PageCursor.encode(blast: $0.id)]) } : nil)
        return site.page("documents", values)
    }

    private func view(_ request: Request, _ parameters: Parameters, _ caller: Caller) async throws -> BlastView {
        let id = try APIRoutes.blastID(parameters)
        let fields = try FormFields.query(request)
        return try await pastSlots.withSlot(if: fields[PastTime.parameter] != nil) {
            try await pool.reading(caller.district) { connection in
                let newest = try await BlastDocument.read(id, on: connection)
                let past = try PastTime.asked(fields, in: LocalTime(zone: newest.district.timeZone))
                let document = try await newest.at(past, on: connection)
                var view = try BlastView(document, fields)
                view.page = try await view.query.run(document, at: past, on: connection)
                return view
            }
        }
    }

    private func blast(_ request: Request, _ parameters: Parameters, _ caller: Caller) async throws -> Response {
        let view = try await view(request, parameters, caller)
        let part = view.liveValues
        let document = view.document
        var values = part.merging(Self.frame(document.title.text, document.district, view.times)) { $1 }
        values.merge(view.surroundings) { $1 }
        values["mayApprove"] =
            document.state == .awaitingApproval && document.cancelledAt == nil && !document.isPast
            && document.waiting.mayBeApproved(by: caller)
        values["liveTag"] = EntityTag(of: site.render("live", part)).text
        if view.interval > 0 { values["refreshSeconds"] = 10 }
        return site.page("blast", values)
    }

    private func live(_ request: Request, _ parameters: Parameters, _ caller: Caller) async throws -> Response {
        let view = try await view(request, parameters, caller)
        let text = site.render("live", view.liveValues)
        let tag = EntityTag(of: text)
        var response = tag.isKnown(to: request) ? tag.notModified : site.html(text)
        response.headers[.eTag] = tag.text
        response.headers[.asOf] = view.times.precise(view.document.asOf)
        return response
    }

    private func delivery(_ request: Request, _ parameters: Parameters, _ caller: Caller) async throws -> Response {
        let id = try APIRoutes.blastID(parameters)
        let fields = try FormFields.query(request)
        let (document, history) = try await pool.reading(caller.district) { connection in
            let newest = try await BlastDocument.read(id, on: connection)
            let past = try PastTime.asked(fields, in: LocalTime(zone: newest.district.timeZone))
            let document = try newest.timed(past)
            let number = try APIRoutes.recipientNumber(parameters)
            return (document, try await DeliveryHistory.read(number, of: document, at: past, on: connection))
        }
        let reading = try StatusReading.asked(fields, else: document.district.reading)
        let times = LocalTime(zone: document.district.timeZone)
        let values = DeliveryView(document: document, history: history, reading: reading, times: times).values
        return site.page(
            "delivery", values.merging(Self.frame("Why this status", document.district, times)) { $1 })
    }

    private func blacklist(_ request: Request, _ caller: Caller) async throws -> Response {
        let fields = try FormFields.query(request)
        let query = try BlacklistQuery(fields, limits: 1...Self.pageSize)
        let (district, page) = try await pool.reading(caller.district) { connection in
            (try await District.read(on: connection), try await query.run(on: connection))
        }
        let times = LocalTime(zone: district.timeZone)
        var values = Self.frame("Blacklisted recipients", district, times)
        values["onBlacklist"] = true
        if let text = query.text { values["q"] = text }
        values["hasEntries"] = !page.entries.isEmpty
        values["mayReset"] = caller.has(.admin)
        values["entries"] = page.entries.map { entry -> PageValues in
            var row = times.values(entry.lastSeen)
            row["address"] = entry.address
            row["reason"] = Self.reasons[entry.reason] ?? entry.reason
            row["evidence"] = entry.evidence
            return row
        }
        values["pager"] = Self.pager(
            first: fields["cursor"] == nil ? nil : "/blacklist?" + FormFields.encode(["q": query.text]),
            next: page.next.map {
                "/blacklist?" + FormFields.encode(["q": query.text, "cursor": PageCursor.encode(address: $0)])
            })
        return site.page("blacklist", values)
    }

    /// The words of the product's own blacklist section (I-27).
    private static let reasons = [
        "bounce": "Bounce", "complaint": "Complaint", "invalid": "Invalid", "manual": "Blocked by hand",
    ]

    private func reset(_ request: Request, _ caller: Caller) async throws -> Response {
        try caller.require(.admin)
        let fields = try await FormFields.body(request)
        let id = try await commands.resetBlacklist(
            address: fields["address"] ?? "", reason: fields["reason"] ?? "", by: caller)
        commandWake.signal()
        return Gate.redirect(to: "/commands/\(id)")
    }

    private func command(_ parameters: Parameters, _ caller: Caller) async throws -> Response {
        guard let id = parameters.get("command").flatMap({ BlastID($0) }) else { throw ReportProblems.noSuchCommand }
        let command = try await commands.find(id, by: caller)
        let district = try await pool.reading(caller.district) { try await District.read(on: $0) }
        let times = LocalTime(zone: district.timeZone)
        var values = Self.frame("Taking an address off the blacklist", district, times)
        values["isPending"] = command.doneAt == nil
        values["outcome"] = command.outcome ?? ""
        values["actor"] = command.actor
        values["reason"] = command.reason
        values["created"] = times.values(command.createdAt)
        if command.doneAt == nil { values["reloadSeconds"] = 3 }
        return site.page("command", values)
    }

    /// What every page shows.
    static func frame(_ title: String, _ district: District, _ times: LocalTime) -> PageValues {
        ["title": title, "district": district.name, "zone": times.zoneName]
    }

    static func pager(first: String?, next: String?) -> PageValues? {
        guard first != nil || next != nil else { return nil }
        var values: PageValues = [:]
        values["first"] = first
        values["next"] = next
        return values
    }
}

extension HTTPField.Name {
    fileprivate static let asOf = Self("Rollcall-As-Of")!
}
