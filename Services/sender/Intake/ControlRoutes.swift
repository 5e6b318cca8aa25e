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
