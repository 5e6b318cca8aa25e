import Postgres
import Runtime
import ServiceLifecycle

/// Takes blasts in over HTTP and sends them over SMTP. See `Services/README.md`.
@main
struct Sender {
    static func main() async {
        await ServiceProgram(
            name: "sender", summary: "Takes blasts in over HTTP and sends them over SMTP.",
            roles: [.intake, .dispatch], settings: SenderConfiguration.declared
        ).run { context in
            let configuration = try SenderConfiguration(context.settings)
            let dispatch = try DispatchAssembly(context, configuration)
            return Self.intake(context, configuration, before: dispatch)
        }
    }

    /// The server is asked to stop first, before dispatch; its connections close last.
    private static func intake(
        _ context: ProgramContext, _ configuration: SenderConfiguration, before dispatch: DispatchAssembly
    ) -> [any Service] {
        let postgres = context.settings.postgres(.intake, applicationName: "sender-intake")
        let database = PostgresPool(postgres, size: 6)
        let uploads = PostgresPool(postgres, size: 4)
        let routes = IntakeRoutes(
            pool: database, uploads: uploads,
            limits: configuration.limits, chunkSize: configuration.chunkSize,
            composer: configuration.composer, testHandOver: dispatch.testHandOver, logger: context.logger)
        routes.addChecks(to: context.readiness)
        var limits = HTTPLimits()
        limits.deadlineOverride = { IntakeRoutes.deadline(for: $0, limits: configuration.limits) }
        let server = HTTPServerService(
            name: "sender", listen: configuration.listen, limits: limits, logger: context.logger,
            context: ServiceRequestContext.self
        ) { router in
            routes.register(on: router)
        }
        return [
            ClosingService { await database.close(grace: .seconds(2)) },
            ClosingService { await uploads.close(grace: .seconds(2)) },
        ] + dispatch.services + [server]
    }
}
