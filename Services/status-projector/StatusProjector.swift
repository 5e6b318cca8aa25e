import Kafka
import Postgres
import Runtime

/// Folds delivery events into rows, history and published status. See `Services/README.md`.
@main
struct StatusProjector {
    static func main() async {
        await ServiceProgram(
            name: "status-projector", summary: "Folds delivery events into status rows and publishes every change.",
            roles: [.projector], settings: ProjectorConfiguration.declared
        ).run { context in
            let configuration = ProjectorConfiguration(context.settings)
            var postgres = context.settings.postgres(.projector, applicationName: "status-projector")
            let rebuildPath = try RebuildStore.searchPath(of: configuration.projection)
            if let rebuildPath { postgres.searchPath = rebuildPath }
            let database = PostgresPool(postgres, size: 3)
            postgres.plansByKey = true
            let deliveries = PostgresPool(postgres, size: 10)
            context.readiness.add("postgres") { _ = try await database.query("SELECT 1") }
            let kafka = Self.patient(context.settings.kafka(clientID: "status-projector"))
            guard rebuildPath == nil else {
                return [
                    ClosingService { await database.close() }, ClosingService { await deliveries.close() },
                    RebuildLoop(context: context, configuration: configuration, kafka: kafka, database: deliveries),
                ]
            }
            let producer = try KafkaProducer(kafka, messageTimeout: nil)
            let owned = OwnedPartitions()
            let loop = ProjectionLoop(
                context: context, configuration: configuration, kafka: kafka, database: deliveries, producer: producer,
                owned: owned)
            let progress = ProgressPublisher(
                context: context, configuration: configuration, database: database, producer: producer, owned: owned)
            return [
                ClosingService { await database.close() }, ClosingService { await deliveries.close() },
                ClosingService { await producer.close(timeout: .seconds(5)) },
                loop, progress, ParkedJanitor(context: context, database: database),
            ]
        }
    }

    /// Publishing everything kept, after a restarted history, is one long step: the group must not take the partitions
    /// away meanwhile.
    private static func patient(_ kafka: KafkaConfiguration) -> KafkaConfiguration {
        KafkaConfiguration(
            bootstrapServers: kafka.bootstrapServers, clientID: kafka.clientID,
            overrides: ["max.poll.interval.ms": "900000"].merging(kafka.overrides) { $1 })
    }
}
