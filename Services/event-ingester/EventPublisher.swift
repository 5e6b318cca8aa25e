import Contracts
import Delivery
import Kafka
import Logging
import Runtime

/// Puts records on their topics for somebody who waits for an answer.
struct EventPublisher: Sendable {
    /// How long the broker may take. Short enough to answer 503 within the request's deadline.
    static let patience = Duration.seconds(5)
    private static let recordsMax = 40_000

    private let producer: KafkaProducer
    private let metrics: IngesterMetrics
    private let broker: OutageLog
    private let inHand = Budget(recordsMax)

    init(producer: KafkaProducer, metrics: IngesterMetrics, logger: Logger) {
        self.producer = producer
        self.metrics = metrics
        broker = OutageLog("the message broker", logger: logger)
    }

    /// A producer that gives up after `patience` and is not idempotent.
    ///
    /// After a record timed out, an idempotent producer goes on under a new epoch, which the local broker refuses for
    /// ever (Kafka error 90, seen after a frozen broker went on). Order and single copies are not needed here: facts
    /// are joined.
    static func producer(_ configuration: KafkaConfiguration) throws -> KafkaProducer {
        let overrides = ["enable.idempotence": "false"].merging(configuration.overrides) { $1 }
        return try KafkaProducer(
            KafkaConfiguration(
                bootstrapServers: configuration.bootstrapServers, clientID: configuration.clientID,
                overrides: overrides),
            messageTimeout: patience)
    }

    /// Returns when the broker has acknowledged every record.
    ///
    /// - Throws: a 503 `Problem` with `Retry-After`; any subset of the records may be on the topics then, and saying
    ///   them again changes nothing.
    func publish(_ records: [ProducerRecord]) async throws {
        guard inHand.take(records.count) else {
            throw Problem.unavailable(
                detail: "Too many events wait for the message broker. Send the request again later.")
        }
        defer { inHand.giveBack(records.count) }
        do {
            try await send(records)
        } catch is KafkaError {
            throw Problem.unavailable(detail: "The message broker does not answer now. Send the request again later.")
        }
    }

    /// The same for a caller that keeps its records and waits as long as it takes.
    /// - Throws: `KafkaError`.
    func send(_ records: [ProducerRecord]) async throws {
        let started = ContinuousClock.now
        try await broker.watch { try await producer.send(records) }
        metrics.produceSeconds.observe(ContinuousClock.now - started)
    }
}
