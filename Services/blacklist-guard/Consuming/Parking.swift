import Contracts
import Kafka
import Postgres
import Runtime

/// Puts records nobody can read aside on the dead-letter topic, at least once, under an id made of where they stood.
struct Parking: Sendable {
    let producer: KafkaProducer

    func park(_ record: ConsumerRecord, of clusterID: String, reason: String) async throws {
        try await producer.send([
            ProducerRecord(
                DeadLetter(
                    topic: record.topicPartition.topic, partition: record.topicPartition.partition,
                    offset: record.offset, clusterID: clusterID, value: record.value, reason: reason,
                    source: "/rollcall/blacklist-guard", atMicroseconds: WallClock.nowMicroseconds()))
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
