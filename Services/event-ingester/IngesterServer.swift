import Hummingbird
import Logging
import Runtime
import ServiceLifecycle

/// The public server: everything a provider or a reader can reach.
struct IngesterServer: Sendable {
    let webhook: WebhookRoute
    let tracking: TrackingRoutes
    let unsubscribe: UnsubscribeRoutes
    let responses: ResponseRoutes

    func service(listen: ListenAddress, context: ProgramContext) -> some Service {
        var limits = HTTPLimits()
        limits.requestDeadline = .seconds(15)
        limits.transferDeadline = .seconds(60)
        limits.idleTimeout = .seconds(30)
        // A pixel is asked for more often than anything else happens here; counters tell of them.
        limits.accessLogLevel = .debug
        return HTTPServerService(
            name: "ingester", listen: listen, limits: limits, metrics: context.metrics, logger: context.logger,
            context: ServiceRequestContext.self, problemPage: Self.problemPage
        ) { router in
            webhook.add(to: router)
            tracking.add(to: router)
            unsubscribe.add(to: router)
            responses.add(to: router)
        }
    }

    @Sendable private static func problemPage(_ problem: Problem, _ request: Request) -> Response? {
        Pages.problem(problem, at: request.uri.path)
    }
}
