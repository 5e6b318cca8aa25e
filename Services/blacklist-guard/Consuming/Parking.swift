import Contracts
import Kafka
import Postgres
import Runtime

/// Puts records nobody can read aside on the dead-letter topic, at least once, under an id made of where they stood.
struct Parking: Sendable {
    let producer: KafkaProducer

    func park(_ record: ConsumerRecord, reason: String, nowMicroseconds: Int64) async throws {
        let place = record.topicPartition
        let attributes = CloudEventAttributes(
            id: "guard/\(place.topic)/\(place.partition)/\(record.offset)", source: "/rollcall/blacklist-guard",
            type: "rollcall.dead-letter.parked.v1", timeMicroseconds: nowMicroseconds,
            subject: "\(place.topic)/\(place.partition)")
        let headers = attributes.kafkaHeaders + [KafkaHeader(name: "rollcall-reason", text: String(reason.prefix(200)))]
        try await producer.send([
            ProducerRecord(
                topic: Topic.deadLetters.name, key: Array("\(place.topic)/\(place.partition)".utf8),
                value: record.value, headers: headers)
        ])
    }
}

extension PostgresError {
    /// The values themselves are refused: the same work fails the same way for ever.
    var refusesValues: Bool {
        if code == .invalidParameter { return true }
        guard code == .server, let sqlState else { return false }
        return sqlState.hasPrefix("22") || sqlState.hasPrefix("23")
    }
}
