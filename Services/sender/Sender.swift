import Postgres
import Runtime
import ServiceLifecycle

/// Takes blasts in over HTTP and sends them over SMTP. See `README.md`.
@main
struct Sender {
    static func main() async {
        await ServiceProgram(
            name: "sender", summary: "Takes blasts in over HTTP and sends them over SMTP.",
            roles: [.intake, .dispatch], settings: SenderConfiguration.declared
        ).run { context in
            let configuration = try SenderConfiguration(context.settings)
            let dispatch = try DispatchAssembly(context, configuration)
            return dispatch.services + [Self.intake(context, configuration)]
        }
    }

    private static func intake(_ context: ProgramContext, _ configuration: SenderConfiguration) -> any Service {
        let postgres = context.settings.postgres(.intake, applicationName: "sender-intake")
        let routes = IntakeRoutes(
            pool: PostgresPool(postgres, size: 6), uploads: PostgresPool(postgres, size: 4),
            limits: configuration.limits, chunkSize: configuration.chunkSize, logger: context.logger)
        routes.addChecks(to: context.readiness)
        var limits = HTTPLimits()
        limits.deadlineOverride = { IntakeRoutes.deadline(for: $0, limits: configuration.limits) }
        return HTTPServerService(
            name: "sender", listen: configuration.listen, limits: limits, logger: context.logger,
            context: ServiceRequestContext.self
        ) { router in
            routes.register(on: router)
        }
    }
}
