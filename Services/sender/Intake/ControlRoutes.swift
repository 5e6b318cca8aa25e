import Contracts
import Delivery
import HTTPTypes
import Hummingbird
import Postgres
import Runtime

/// What can be done with a blast that was ordered.
extension IntakeRoutes {
    func registerControl<Context: RequestContext & Sendable>(on router: Router<Context>) {
        router.post("/v1/blasts/:blast/cancel") { request, context in try await control(.cancel, request, context) }
        router.post("/v1/blasts/:blast/pause") { request, context in try await control(.pause, request, context) }
        router.post("/v1/blasts/:blast/resume") { request, context in try await control(.resume, request, context) }
        router.post("/v1/blasts/:blast/approve") { request, context in try await approve(request, context) }
        router.post("/v1/blasts/:blast/schedule") { request, context in try await schedule(request, context) }
        router.post("/v1/blasts/:blast/follow-up") { request, context in try await followUp(request, context) }
    }

    private func control(
        _ control: BlastStore.Control, _ request: Request, _ context: some RequestContext
    ) async throws -> Response {
        let caller = try await authenticate(request, .send)
        return try Self.json(try await blasts.control(try Self.known(Self.blast(context)), control, by: caller))
    }

    private func approve(_ request: Request, _ context: some RequestContext) async throws -> Response {
        let caller = try await authenticate(request, .send, .admin)
        return try Self.json(try await blasts.approve(try Self.known(Self.blast(context)), by: caller))
    }

    private func schedule(_ request: Request, _ context: some RequestContext) async throws -> Response {
        let caller = try await authenticate(request, .send)
        let blast = try Self.known(Self.blast(context))
        var reader = MemberReader(try IntakeProblems.object(try await collect(request, upTo: 4096)))
        let sendAt = reader.sendTime("send_at", nowMicroseconds: WallClock.nowMicroseconds())
        reader.refuseUnknown()
        guard reader.faults.isEmpty else { throw IntakeProblems.members(reader.faults) }
        return try Self.json(try await blasts.schedule(blast, at: sendAt, by: caller))
    }

    private func followUp(_ request: Request, _ context: some RequestContext) async throws -> Response {
        let caller = try await authenticate(request, .send)
        let parent = try Self.known(Self.blast(context))
        let body = try await collect(request, upTo: limits.blastOctets)
        let reading = try await uploads.withDistrict(caller.district) { connection in
            try await StatusReading.read(caller.district, on: connection)
        }
        let order = try FollowUp(parent: parent, json: body, reading: reading)
        let made = try await order.make(by: caller, limits: limits, pool: uploads)
        var response = try Self.json(made, status: .created)
        response.headers[.location] = "/v1/blasts/\(made.blast_id)"
        return response
    }
}

extension MemberReader {
    /// How far ahead a blast may be scheduled.
    static let scheduleDays: Int64 = 30

    /// A time in the next 30 days, in microseconds since 1970 UTC.
    mutating func sendTime(_ name: String, nowMicroseconds now: Int64) -> Int64? {
        guard let at = time(name) else { return nil }
        if at <= now {
            add(name, "is not in the future; leave it out to send at once")
        } else if at > now + Self.scheduleDays * 86_400_000_000 {
            add(name, "is more than \(Self.scheduleDays) days ahead")
        }
        return at
    }
}

extension BlastStore {
    /// Lets a blast go that waits for a second person.
    ///
    /// - Throws: `Problem` 403 for whoever ordered it, by the key or by its label; 409 unless it waits.
    func approve(_ blast: BlastID, by caller: Caller) async throws -> BlastResource {
        try await pool.withDistrict(caller.district) { connection in
            let document = try await Self.lock(blast, on: connection)
            if document.approved_by == caller.label { return document }
            let rows = try await connection.query(
                "SELECT waits, is_other FROM approve_blast($1, $2, $3)",
                [.uuid(blast), .text(caller.label), .text(caller.keyID)])
            guard let row = rows.first, try row.bool("waits") else {
                throw IntakeProblems.conflict(
                    "not-awaiting-approval", "The blast waits for no approval",
                    "The blast is \(document.state)\(document.cancelled_at == nil ? "" : " and cancelled")"
                        + "\(document.state == "awaiting_approval" ? ", and the time for its approval is over" : "").")
            }
            guard try row.bool("is_other") else {
                throw Problem(
                    "second-person-needed", title: "Somebody else has to approve", status: .forbidden,
                    detail: "The blast was ordered by \(document.requested_by ?? "you"). Its approval needs another "
                        + "person's key.")
            }
            return try await Self.read(blast, on: connection)
        }
    }

    /// Sets when a blast that is not being sent yet is to be sent; nil means as soon as it may.
    ///
    /// - Throws: `Problem` 409 once sending has begun or the blast has ended, or when its `not_after` would come first.
    func schedule(_ blast: BlastID, at sendAt: Int64?, by caller: Caller) async throws -> BlastResource {
        try await pool.withDistrict(caller.district) { connection in
            let document = try await Self.lock(blast, on: connection)
            guard ["draft", "awaiting_approval", "scheduled"].contains(document.state), document.cancelled_at == nil
            else {
                throw IntakeProblems.conflict(
                    "sending-began", "The blast cannot be scheduled",
                    document.cancelled_at == nil
                        ? "The blast is \(document.state); its time can no longer be changed."
                        : "The blast is cancelled.")
            }
            if let sendAt, let notAfter = document.not_after, let limit = Timestamp.microseconds(notAfter),
                limit <= sendAt
            {
                throw IntakeProblems.members([
                    MemberFault(field: "send_at", reason: "is not before the blast's not_after, \(notAfter)")
                ])
            }
            _ = try await connection.query(
                """
                UPDATE blast SET send_at = CASE WHEN state = 'scheduled' THEN coalesce($2, clock_timestamp()) ELSE $2 END
                 WHERE blast_id = $1
                """, [.uuid(blast), .timestampMicroseconds(sendAt)])
            return try await Self.read(blast, on: connection)
        }
    }
}
