import Contracts
import Kafka

/// Puts status records on their topic, in the order given, and returns once the broker has acknowledged them all.
struct StatusPublisher: Sendable {
    let producer: KafkaProducer

    func publish(_ records: [DeliveryStatusRecord]) async throws {
        guard !records.isEmpty else { return }
        try await producer.send(
            try records.map { record in
                ProducerRecord(
                    topic: Topic.deliveryStatus.name, key: record.key, value: try record.value(),
                    headers: record.attributes.headers.map { KafkaHeader(name: $0.name, text: $0.value) })
            })
    }
}
