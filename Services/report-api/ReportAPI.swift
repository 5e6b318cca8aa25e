import Kafka
import Logging
import Postgres
import Runtime

/// Shows staff and programs what happened to every message, and takes their commands. See `Services/README.md`.
@main
struct ReportAPI {
    static func main() async {
        await ServiceProgram(
            name: "report-api", summary: "Shows what happened to every message, as pages and as JSON.",
            roles: [.report], settings: ReportConfiguration.declared
        ).run { context in
            let configuration = ReportConfiguration(context.settings)
            let database = PostgresPool(context.settings.postgres(.report, applicationName: "report-api"), size: 10)
            context.readiness.add("postgres") { _ = try await database.query("SELECT 1 FROM blast LIMIT 1") }
            if configuration.sessionSecret == nil {
                context.logger.warning(
                    "report.session.secret is not set: people have to sign in again after every restart of this process"
                )
            }
            let producer = try KafkaProducer(context.settings.kafka(clientID: "report-api"), messageTimeout: nil)
            let commands = CommandPublisher(context: context, database: database, producer: producer)
            let routes = try ReportRoutes(
                pool: database, sessions: Sessions(secret: configuration.sessionSecret), commandWake: commands.wake)
            let server = HTTPServerService(
                name: "report", listen: configuration.listen, logger: context.logger,
                context: ServiceRequestContext.self, problemPage: routes.problemPage
            ) { router in
                routes.register(on: router)
            }
            return [
                ClosingService { await database.close() }, PartitionJanitor(context: context, database: database),
                commands, server,
            ]
        }
    }
}
