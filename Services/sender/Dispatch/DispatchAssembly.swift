import Kafka
import Logging
import NIOPosix
import Postgres
import Runtime
import SMTP
import ServiceLifecycle

/// Puts the parts of dispatch together, in the order in which they must outlive each other: services stop in reverse, so
/// the dispatcher ends first, its lease and the publishing of its facts after it, connections last.
struct DispatchAssembly {
    private static let databaseConnections = 4
    /// For the statements that every message goes through; each reaches its rows by key.
    private static let deliveryConnections = 8
    /// Outcomes share a statement with messages that may have to wait for another sender's claim: they are written alone
    /// after that.
    private static let lockTimeout = Duration.seconds(2)
    /// A publisher holds rows while it waits for the broker.
    private static let messageTimeout = Duration.seconds(15)

    let services: [any Service]
    /// Hands one message over at once, beside the queue: for tests of a draft.
    let testHandOver: TestMessage.HandOver

    init(_ context: ProgramContext, _ configuration: SenderConfiguration) throws {
        let database = PostgresPool(
            context.settings.postgres(.dispatch, applicationName: "sender-dispatch"), size: Self.databaseConnections)
        var byKey = context.settings.postgres(.dispatch, applicationName: "sender-deliveries")
        byKey.plansByKey = true
        byKey.lockTimeout = Self.lockTimeout
        let deliveries = PostgresPool(byKey, size: Self.deliveryConnections)
        context.readiness.add("postgres.dispatch") {
            _ = try await database.query("SELECT 1 FROM sender_lease LIMIT 1")
        }
        let kafka = context.settings.kafka(clientID: "sender")
        let producer = try KafkaProducer(kafka, messageTimeout: Self.messageTimeout)
        let metrics = SenderMetrics(context.metrics)
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let ways = configuration.ways(on: eventLoop)
        let slots = HandOverSlots(
            Dictionary(ways.map { ($0.channel, $0.connections) }, uniquingKeysWith: +))
        let pace = RelayPace()
        let rates = SendRates(database: database, ceilings: configuration.rates, pace: pace)
        let relays = Relays(ways, slots: slots, pace: pace, metrics: metrics, logger: context.logger)
        relays.watch(metrics)
        metrics.watch(slots: slots) { relays.openConnections }
        testHandOver = { envelope, octets in
            await relays.deliver(
                ComposedMessage(envelope: envelope, octets: octets), deadline: .now + .seconds(20), beforeDot: {},
                afterDot: {}
            ).outcome
        }
        let lease = SenderLease(
            database: database, duration: configuration.lease, instance: InstanceName.current, logger: context.logger,
            lost: metrics.leaseLost)
        context.readiness.add("lease") { if await lease.current == nil { throw NotReady(reason: "no lease is held") } }
        let reporter = OutcomeReporter(database: database, producer: producer, metrics: metrics)
        let facts = FactPublisher(database: deliveries, producer: producer, metrics: metrics, reporter: reporter)
        services =
            [
                ClosingService { await producer.close(timeout: .seconds(3)) },
                ClosingService { await database.close(grace: .seconds(2)) },
                ClosingService { await deliveries.close(grace: .seconds(2)) },
                Self.periodic(context, "facts", every: .milliseconds(100)) {
                    try await reporter.forgetAcknowledged()
                    return try await facts.publish()
                } atStop: {
                    await reporter.flush(within: .seconds(2))
                    await facts.flush(within: .seconds(3))
                },
                Self.periodic(context, "lease", every: configuration.lease / 3) {
                    try await lease.beat()
                    return false
                } atStop: {
                    await lease.end()
                },
            ] + Self.housekeeping(context, configuration, database, producer, metrics) + [
                ClearedConsumer(
                    kafka: kafka, database: database, metrics: metrics, logger: context.logger,
                    stuck: context.stuckLoop("cleared")),
                Self.periodic(context, "rates", every: .seconds(1)) {
                    try await rates.look()
                    return false
                },
                Self.dispatcher(
                    context, configuration, deliveries, relays, rates, lease, slots, reporter, metrics,
                    EventLoopExecutor(eventLoop)),
            ]
    }

    private static func housekeeping(
        _ context: ProgramContext, _ configuration: SenderConfiguration, _ database: PostgresPool,
        _ producer: KafkaProducer, _ metrics: SenderMetrics
    ) -> [any Service] {
        let chunks = ChunkPublisher(database: database, producer: producer, repeatAfter: .seconds(10))
        let reaper = Reaper(
            database: database, dotDeadline: configuration.dotDeadline,
            replyTimeout: configuration.replyTimeout, inDoubtAfter: configuration.inDoubtAfter,
            metrics: metrics)
        let finisher = BlastFinisher(database: database)
        let incarnations = IncarnationWatcher(database: database, logger: context.logger)
        let releaser = BlastReleaser(database: database, logger: context.logger)
        let breaker = BlastBreaker(
            database: database, share: configuration.breakerShare, after: configuration.breakerAfter,
            stallAfter: configuration.stallAfter, metrics: metrics, logger: context.logger)
        let timeouts = Timeouts(database: database, after: configuration.resultWithin, metrics: metrics)
        let patience = EmergencyPatience(
            database: database, patience: configuration.emergencyPatience, metrics: metrics, logger: context.logger)
        return [
            periodic(context, "releaser", every: .seconds(1)) {
                try await releaser.release()
                return false
            },
            periodic(context, "breaker", every: .seconds(2)) {
                try await breaker.look()
                return false
            },
            periodic(context, "timeouts", every: .seconds(5)) { try await timeouts.look() },
            periodic(context, "emergencies", every: .seconds(1)) {
                try await patience.clearOverdue()
                return false
            },
            periodic(context, "incarnation", every: .seconds(3)) {
                try await incarnations.look()
                return false
            },
            periodic(context, "reaper", every: .seconds(2)) { try await reaper.reap() },
            periodic(context, "left reports", every: .seconds(1)) {
                try await OutcomeReporter.takeBack(database)
                return false
            },
            periodic(context, "gauges", every: .seconds(5)) {
                try await reaper.readGauges()
                return false
            },
            periodic(context, "finisher", every: .seconds(1)) {
                try await finisher.finish()
                return false
            },
            periodic(context, "chunks", every: .milliseconds(200)) { try await chunks.publish() },
        ]
    }

    private static func dispatcher(
        _ context: ProgramContext, _ configuration: SenderConfiguration, _ database: PostgresPool,
        _ relays: Relays, _ rates: SendRates, _ lease: SenderLease, _ slots: HandOverSlots,
        _ reporter: OutcomeReporter, _ metrics: SenderMetrics, _ executor: EventLoopExecutor
    ) -> Dispatcher {
        let writer = OutcomeWriter(
            database: database, slots: slots, reporter: reporter, logger: context.logger, executor: executor)
        context.readiness.add("smtp") {
            if !relays.isUsable {
                throw NotReady(reason: "no relay can be used: " + relays.troubled.joined(separator: ", "))
            }
        }
        let handOver = HandOver(
            relays: relays, writer: writer, schedule: configuration.schedule,
            dotDeadline: configuration.dotDeadline, rates: rates, metrics: metrics, executor: executor)
        return Dispatcher(
            configuration: configuration, lease: lease, queue: ChunkQueue(database: database),
            retries: RetryQueue(database: database, guardFreshness: configuration.guardFreshness),
            documents: BlastDocuments(database: database), composer: configuration.composer,
            wire: Wire(
                database: database, leaseMargin: configuration.lease / 10,
                guardFreshness: configuration.guardFreshness),
            rates: rates, slots: slots, relays: relays, handOver: handOver, writer: writer, metrics: metrics,
            logger: context.logger,
            stuck: Dictionary(
                uniqueKeysWithValues: Dispatcher.Lane.allCases.map { lane in
                    (lane, context.stuckLoop("dispatch-\(lane.rawValue)"))
                }),
            drainBound: context.settings[CommonSettings.shutdownGrace] / 2)
    }

    private static func periodic(
        _ context: ProgramContext, _ name: String, every interval: Duration,
        _ work: @escaping @Sendable () async throws -> Bool, atStop: @escaping @Sendable () async -> Void = {}
    ) -> any Service {
        PeriodicWork(
            name, every: interval, stuck: context.stuckLoop(name), logger: context.logger, work: work, atStop: atStop)
    }
}

/// Why the process is not ready, as /readyz shows it.
struct NotReady: Error, CustomStringConvertible {
    let reason: String
    var description: String { reason }
}
