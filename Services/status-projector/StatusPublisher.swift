import Contracts
import Kafka
import Runtime

/// Puts status records on their topic, in the order given, and returns once the broker has acknowledged them all.
struct StatusPublisher: Sendable {
    let producer: KafkaProducer
    var encoding: Counter?

    /// Encodes aside from the caller's actor, which commits the next batch meanwhile.
    @concurrent
    func publish(_ records: [DeliveryStatusRecord]) async throws {
        guard !records.isEmpty else { return }
        try await producer.send(
            try ThreadClock.charge(encoding) { try records.map { try ProducerRecord($0) } })
    }
}
