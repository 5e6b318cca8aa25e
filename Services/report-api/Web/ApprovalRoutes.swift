import Delivery
import HTTPTypes
import Hummingbird
import Postgres
import Runtime

/// The page on which a second person lets a blast go, after looking at what it is.
struct ApprovalRoutes: Sendable {
    let pool: PostgresPool
    let gate: Gate
    let site: Site

    func register<Context: RequestContext & Sendable>(on router: Router<Context>) {
        router.get("/blasts/:blast/approve") { request, context in
            try await gate.entering(request) { try await ask(context.parameters, $0) }
        }
        router.post("/blasts/:blast/approve") { request, context in
            guard request.isSameSite else { throw ReportProblems.crossSite }
            return try await gate.entering(request) { try await approve(context.parameters, $0) }
        }
    }

    private func ask(_ parameters: Parameters, _ caller: Caller) async throws -> Response {
        let id = try APIRoutes.blastID(parameters)
        try caller.require(.send, .admin)
        let document = try await pool.reading(caller.district) { try await BlastDocument.read(id, on: $0) }
        guard document.state == .awaitingApproval, document.cancelledAt == nil else {
            throw Self.notWaiting
        }
        guard document.waiting.mayBeApproved(by: caller) else { throw Self.secondPersonNeeded }
        let times = LocalTime(zone: document.district.timeZone)
        var values = PageRoutes.frame("Approve a blast", document.district, times)
        values["id"] = document.id.description
        values["kind"] = document.title.kind
        values["subject"] = document.title.subject
        values["audience"] = counted(document.counts.total, "recipient", "recipients")
        values["requestedBy"] = document.waiting.requestedBy ?? "somebody"
        values["from"] = document.sender
        values["sendAt"] = document.waiting.sendAt.map { times.values($0) }
        return site.page("approve", values)
    }

    private func approve(_ parameters: Parameters, _ caller: Caller) async throws -> Response {
        let id = try APIRoutes.blastID(parameters)
        try caller.require(.send, .admin)
        try await pool.withDistrict(caller.district) { connection in
            _ = try await BlastDocument.read(id, on: connection)
            let rows = try await connection.query(
                "SELECT waits, is_other FROM approve_blast($1, $2, $3)",
                [.uuid(high: id.high, low: id.low), .text(caller.label), .text(caller.keyID)])
            guard let row = rows.first, try row.bool("waits") else { throw Self.notWaiting }
            guard try row.bool("is_other") else { throw Self.secondPersonNeeded }
        }
        return Gate.redirect(to: "/blasts/\(id)")
    }

    private static let notWaiting = Problem(
        "not-awaiting-approval", title: "The blast waits for no approval", status: .conflict,
        detail: "Somebody else has approved it, it was cancelled, or the time for its approval is over.")
    private static let secondPersonNeeded = Problem(
        "second-person-needed", title: "Somebody else has to approve", status: .forbidden,
        detail: "You ordered this blast yourself. Its approval needs another person's key.")
}

extension BlastWaiting {
    /// Whether the caller is somebody else than who ordered it; what the database says when it comes to it holds.
    func mayBeApproved(by caller: Caller) -> Bool {
        (caller.has(.send) || caller.has(.admin)) && requestedBy != caller.label && requestedByKey != caller.keyID
    }
}
