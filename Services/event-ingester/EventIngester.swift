import Contracts
import Kafka
import Postgres
import Runtime

/// Takes in what providers and readers report: webhooks, opens, clicks, unsubscriptions. See `Services/README.md`.
@main
struct EventIngester {
    static func main() async {
        await ServiceProgram(
            name: "event-ingester",
            summary: "Takes in what providers and readers report: webhooks, opens, clicks, unsubscriptions.",
            roles: [.ingester], settings: IngesterConfiguration.declared
        ).run { context in
            let configuration = IngesterConfiguration(context.settings)
            let metrics = IngesterMetrics(context.metrics)
            let postgres = context.settings.postgres(.ingester, applicationName: "event-ingester")
            let kafka = context.settings.kafka(clientID: "event-ingester")
            let database = PostgresPool(HitWriter.bounded(postgres), size: 3, leaseTimeout: .seconds(3))
            let links = PostgresPool(BlastLinks.impatient(postgres), size: 2, leaseTimeout: .seconds(1))
            let linkOutage = OutageLog("looking links up", logger: context.logger)
            let producer = try EventPublisher.producer(kafka)
            let admin = try KafkaAdmin(kafka)
            FirstContact.require("postgres", context.readiness) { _ = try await database.query("SELECT 1") }
            FirstContact.require("topics", context.readiness) {
                let topics = try await admin.existingTopics(timeout: .seconds(1))
                for topic in [Topic.deliveryEvents, .deadLetters] where topics[topic.name] == nil {
                    throw FirstContact.Missing(topic: topic.name)
                }
            }
            let publisher = EventPublisher(producer: producer, metrics: metrics, logger: context.logger)
            let hits = HitBuffer(metrics: metrics)
            let cache = LinkCache { blast in
                try await linkOutage.watch { try await BlastLinks(of: blast, in: links) }
            }
            let server = IngesterServer(
                webhook: WebhookRoute(
                    webhook: configuration.webhook, tokens: configuration.tokens, publisher: publisher,
                    metrics: metrics),
                tracking: TrackingRoutes(tokens: configuration.tokens, hits: hits, links: cache),
                unsubscribe: UnsubscribeRoutes(tokens: configuration.tokens, publisher: publisher, metrics: metrics),
                responses: ResponseRoutes(
                    tokens: configuration.tokens, links: cache, publisher: publisher, metrics: metrics))
            return [
                ClosingService { await links.close() }, ClosingService { await database.close() },
                ClosingService { await admin.close() },
                ClosingService { await producer.close(timeout: .seconds(5)) },
                HitWriter(context: context, buffer: hits, database: database, metrics: metrics),
                JudgeLoop(
                    context: context, store: JudgeStore(database: database, quietWindow: configuration.quietWindow),
                    publisher: publisher, metrics: metrics),
                HistoryWatch(context: context, database: database),
                server.service(listen: configuration.listen, context: context),
            ]
        }
    }
}
