import Contracts
import Delivery
import HTTPTypes
import Hummingbird
import Kafka
import NIOCore
import Runtime
import Signing

/// `/u/{token}`: looking changes nothing, posting unsubscribes (RFC 8058 one-click, or the button of the page).
///
/// No cookie and no redirect takes part. 2xx only once the broker has the wish.
struct UnsubscribeRoutes: Sendable {
    let tokens: TokenKeys
    let publisher: EventPublisher
    let metrics: IngesterMetrics

    func add(to router: Router<ServiceRequestContext>) {
        router.get("u/:token") { _, context in
            _ = try token(context)
            return Pages.unsubscribe
        }
        router.post("u/:token") { request, context in try await unsubscribe(request, token(context)) }
    }

    private func token(_ context: ServiceRequestContext) throws -> LinkToken {
        guard let token = tokens.verify(context.parameters.get("token") ?? ""), token.purpose == .unsubscribe else {
            throw Problem("not-found", title: "Not found", status: .notFound, detail: "There is nothing at this path.")
        }
        return token
    }

    private func unsubscribe(_ request: Request, _ token: LinkToken) async throws -> Response {
        let body = try await request.body.collect(upTo: FormBody.octetsMax)
        try Task.checkCancellation()
        let form = FormBody(Array(body.readableBytesView), contentType: request.headers[.contentType] ?? "")
        let evidence: String
        if form?.has("List-Unsubscribe", "One-Click") == true {
            evidence = "one-click unsubscription (RFC 8058)"
        } else if form?.has("confirm", "1") == true {
            evidence = "unsubscription on our page"
        } else {
            throw Problem(
                "not-confirmed", title: "Not confirmed", status: .badRequest,
                detail: "Post a form with List-Unsubscribe=One-Click.")
        }
        let event = DeliveryEvent(
            id: "unsubscribe/\(token.delivery)", source: "/rollcall/event-ingester", delivery: token.delivery,
            district: token.district, fact: .optedOut, occurredAtMicroseconds: WallClock.nowMicroseconds(),
            evidence: evidence)
        do {
            try await publisher.publish([try ProducerRecord(event)])
        } catch {
            metrics.count("unsubscribe", .unacknowledged)
            throw error
        }
        FaultPoint.reach("ingester.after-ack")
        metrics.count("unsubscribe", .accepted)
        return Pages.unsubscribed
    }
}
