import Contracts
import Kafka
import Postgres
import Runtime
import ServiceLifecycle

/// Decides who is left out of a blast and why, and learns from what providers report about addresses.
@main
struct BlacklistGuard {
    static func main() async {
        await ServiceProgram(
            name: "blacklist-guard", summary: "screens chunks of recipients and keeps the blacklist", roles: [.guard],
            settings: GuardConfiguration.settings
        ).run { context in try services(GuardConfiguration(context.settings), context) }
    }

    /// Resources first: services stop in reverse order, so the loops end before what they use.
    private static func services(
        _ configuration: GuardConfiguration, _ context: ProgramContext
    ) throws -> [any Service] {
        let pool = PostgresPool(configuration.postgres, size: configuration.connections)
        // Emergency requests share nothing with general ones that a general blast could fill.
        let emergencyPool = PostgresPool(configuration.postgres, size: 2)
        let producer = try KafkaProducer(configuration.kafka, messageTimeout: .seconds(10))
        let emergencyProducer = try KafkaProducer(configuration.kafka, messageTimeout: .seconds(10))
        let metrics = GuardMetrics(context.metrics)
        let screened = Wake()
        let emergencyScreened = Wake()
        let blacklisted = Wake()
        context.readiness.add("database") { _ = try await pool.query("SELECT 1") }

        let reporters: [any Service] = [
            ChunkReporter(
                blastClass: .general, pool: pool, producer: producer, wake: screened, metrics: metrics,
                interval: configuration.publishInterval, stuck: context.stuckLoop("report-general"),
                logger: context.logger),
            ChunkReporter(
                blastClass: .emergency, pool: emergencyPool, producer: emergencyProducer, wake: emergencyScreened,
                metrics: metrics, interval: configuration.publishInterval,
                stuck: context.stuckLoop("report-emergency"), logger: context.logger),
            BlacklistReporter(
                pool: pool, producer: producer, wake: blacklisted, interval: configuration.publishInterval,
                stuck: context.stuckLoop("report-blacklist"), logger: context.logger),
            GuardWatch(
                pool: pool, interval: configuration.watchInterval, wakes: [screened, emergencyScreened, blacklisted],
                metrics: metrics, stuck: context.stuckLoop("watch"), logger: context.logger),
        ]
        let loops: [any Service] = [
            CommandService(
                loop: loop("commands", [.commands], configuration, context), ledger: CommandLedger(pool: pool),
                parking: Parking(producer: producer), wake: blacklisted, metrics: metrics),
            LearningService(
                loop: loop("learn", [.deliveryEvents], configuration, context),
                ledger: BlacklistLedger(pool: pool, rule: configuration.softBounces),
                kept: KeptLessons(pool: pool), progress: GuardProgress(pool: pool),
                probeInterval: configuration.progressInterval, wake: blacklisted, metrics: metrics),
            ScreeningService(
                loop: loop("screen", [.chunksRequested], configuration, context),
                screen: ChunkScreen(pool: pool), parking: Parking(producer: producer), wake: screened,
                metrics: metrics),
            ScreeningService(
                loop: loop("screen-emergency", [.chunksRequestedEmergency], configuration, context),
                screen: ChunkScreen(pool: emergencyPool), parking: Parking(producer: emergencyProducer),
                wake: emergencyScreened, metrics: metrics),
        ]
        let resources: [any Service] = [
            ClosingService { await pool.close(grace: .seconds(2)) },
            ClosingService { await emergencyPool.close(grace: .seconds(2)) },
            ClosingService { await producer.close(timeout: .seconds(2)) },
            ClosingService { await emergencyProducer.close(timeout: .seconds(2)) },
        ]
        return resources + reporters + loops
    }

    private static func loop(
        _ name: String, _ topics: [Topic], _ configuration: GuardConfiguration, _ context: ProgramContext
    ) -> ConsumerLoop {
        ConsumerLoop(
            name: name, group: "rollcall-guard-\(name)", topics: topics, kafka: configuration.kafka,
            clusterCheck: configuration.clusterCheck, stuck: context.stuckLoop(name), logger: context.logger)
    }
}
