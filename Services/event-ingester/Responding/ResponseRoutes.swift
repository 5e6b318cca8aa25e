import Contracts
import Delivery
import HTTPTypes
import Hummingbird
import Kafka
import NIOCore
import Runtime
import Signing

/// `/a/{token}`, which acknowledges a message (C-15), and `/r/{token}`, where one of the blast's answers is chosen (C-16).
///
/// Looking changes nothing, because mail scanners look at every link; posting the page's form does. 2xx only once the
/// broker has it. An answer may be changed: the last one by time counts, all are kept.
struct ResponseRoutes: Sendable {
    let tokens: TokenKeys
    let links: LinkCache
    let publisher: EventPublisher
    let metrics: IngesterMetrics

    func add(to router: Router<ServiceRequestContext>) {
        router.get("a/:token") { _, context in
            _ = try token(context, .acknowledge)
            return Pages.acknowledge
        }
        router.post("a/:token") { request, context in
            let token = try token(context, .acknowledge)
            guard try await form(request)?.has("confirm", "1") == true else { throw Self.notConfirmed }
            try await publish(token, .acknowledged, id: "acknowledge/\(token.delivery)", response: nil)
            return Pages.acknowledged
        }
        router.get("r/:token") { _, context in
            Pages.respond(try await answers(try token(context, .respond)))
        }
        router.post("r/:token") { request, context in try await respond(request, token(context, .respond)) }
    }

    private func respond(_ request: Request, _ token: LinkToken) async throws -> Response {
        let answers = try await answers(token)
        let form = try await form(request)
        guard let index = answers.indices.first(where: { form?.has("answer", "\($0 + 1)") == true }) else {
            throw Self.notConfirmed
        }
        let now = WallClock.nowMicroseconds()
        try await publish(
            token, .responded, id: "respond/\(token.delivery)/\(now)", response: answers[index], at: now)
        return Pages.responded(answers[index])
    }

    private func form(_ request: Request) async throws -> FormBody? {
        let body = try await request.body.collect(upTo: FormBody.octetsMax)
        try Task.checkCancellation()
        return FormBody(Array(body.readableBytesView), contentType: request.headers[.contentType] ?? "")
    }

    private func answers(_ token: LinkToken) async throws -> [String] {
        guard let answers = await links.answers(of: token.delivery.blast) else {
            throw Problem.unavailable(detail: "The answers cannot be looked up now.", retryAfterSeconds: 2)
        }
        guard !answers.isEmpty else { throw Self.unknown }
        return answers
    }

    private func token(_ context: ServiceRequestContext, _ purpose: LinkToken.Purpose) throws -> LinkToken {
        guard let token = tokens.verify(context.parameters.get("token") ?? ""), token.purpose == purpose else {
            throw Self.unknown
        }
        return token
    }

    private func publish(
        _ token: LinkToken, _ fact: DeliveryFact, id: String, response: String?,
        at time: Int64 = WallClock.nowMicroseconds()
    ) async throws {
        let event = DeliveryEvent(
            id: id, source: "/rollcall/event-ingester", delivery: token.delivery, district: token.district, fact: fact,
            occurredAtMicroseconds: time, response: response, evidence: "on our page")
        do {
            try await publisher.publish([try ProducerRecord(event)])
        } catch {
            metrics.count("response", .unacknowledged)
            throw error
        }
        FaultPoint.reach("ingester.after-ack")
        metrics.count("response", .accepted)
    }

    private static let unknown = Problem(
        "not-found", title: "Not found", status: .notFound, detail: "There is nothing at this path.")
    private static let notConfirmed = Problem(
        "not-confirmed", title: "Not confirmed", status: .badRequest, detail: "Press a button of the page.")
}
