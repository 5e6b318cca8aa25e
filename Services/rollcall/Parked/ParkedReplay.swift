import Contracts
import Delivery
import Kafka
import Postgres

/// Puts parked records back on their topic.
///
/// Doing it twice is the same as doing it once: a replayed entry is marked, and the readers of every topic know a
/// record that they have had by its id. So a death between the broker's acknowledgement and the mark changes nothing.
struct ParkedReplay {
    static let header = "rollcall-replay-of"

    let connection: PostgresConnection
    let scan: TopicScan
    let producer: KafkaProducer
    let actor: String

    enum Outcome: Sendable {
        case replayed
        case possible
        case already(ParkedRecord.Replay)
        case refused(String)
    }

    /// - Parameter isDry: only says what would happen.
    func replay(_ record: ParkedRecord, isDry: Bool) async throws -> Outcome {
        if let replay = try await marked(record) { return .already(replay) }
        guard let place = record.place else {
            return .refused("it came in by \(record.origin) and stood on no topic; its sender has to repeat it")
        }
        guard let original = try await original(of: record, at: place) else {
            return .refused("\(place.text) is no longer on this cluster, and only its octets were kept")
        }
        if let reason = try await obstacle(to: original) { return .refused(reason) }
        if isDry { return .possible }
        try await producer.send([original])
        _ = try await connection.query(
            "INSERT INTO parked_replay (id, actor) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            [.text(record.id), .text(actor)])
        return .replayed
    }

    /// The same key, value, headers and partition, and a header that says where it stood. An event goes to the partition
    /// of its key, wherever its writer put it.
    private func original(of record: ParkedRecord, at place: ParkedRecord.Place) async throws -> ProducerRecord? {
        let mark = KafkaHeader(name: Self.header, text: place.text)
        if let headers = record.headers {
            return ProducerRecord(
                topic: place.partition.topic, key: record.key ?? [], value: record.value, headers: headers + [mark],
                partition: Self.home(of: record.key, at: place))
        }
        guard let found = try await scan.record(at: place) else { return nil }
        return ProducerRecord(
            topic: place.partition.topic, key: found.key ?? [], value: found.value, headers: found.headers + [mark],
            partition: Self.home(of: found.key, at: place))
    }

    private static func home(of key: [UInt8]?, at place: ParkedRecord.Place) -> Int32 {
        let events = Topic.deliveryEvents
        guard let key, place.partition.topic == events.name else { return place.partition.partition }
        return Int32(Murmur2.partition(of: key, count: events.partitions))
    }

    /// Who put what back is known for a year. Longer than anything parked is kept, so that no mark goes before what it
    /// marks.
    func forgetOldMarks() async throws {
        _ = try await connection.query(
            "DELETE FROM parked_replay WHERE replayed_at < clock_timestamp() - interval '1 year'")
    }

    private func marked(_ record: ParkedRecord) async throws -> ParkedRecord.Replay? {
        try await connection.query(
            "SELECT actor, replayed_at FROM parked_replay WHERE id = $1", [.text(record.id)]
        ).first.map {
            ParkedRecord.Replay(
                actor: try $0.string("actor"), atMicroseconds: try $0.timestampMicroseconds("replayed_at"))
        }
    }

    /// Why the record would only be parked again.
    private func obstacle(to record: ProducerRecord) async throws -> String? {
        func header(_ name: String) -> String? {
            record.headers.last { $0.name.utf8.elementsEqual(name.utf8) }
                .flatMap { String(validating: $0.value, as: UTF8.self) }
        }
        let event: DeliveryEvent?
        do throws(ContractError) {
            event = try Self.read(record.topic, record.value ?? [], header)
        } catch {
            return "it still cannot be read: \(error.reason)"
        }
        guard let event else { return nil }
        guard record.key == event.key else { return "its key is not the delivery of its ce_subject" }
        return try await rowObstacle(to: event)
    }

    /// Reads the record as the services of this version do. Nil for what is no delivery event.
    private static func read(_ topic: String, _ value: [UInt8], _ header: (String) -> String?) throws(ContractError)
        -> DeliveryEvent?
    {
        switch topic {
        case Topic.deliveryEvents.name: return try DeliveryEvent(value: value, header: header)
        case Topic.chunksRequested.name, Topic.chunksRequestedEmergency.name, Topic.chunksCleared.name,
            Topic.chunksClearedEmergency.name:
            _ = try ChunkMessage(value: value, header: header)
        case Topic.commands.name: _ = try Command(value: value, header: header)
        default: throw ContractError("\(topic) is no topic that services take work from")
        }
        return nil
    }

    private func rowObstacle(to event: DeliveryEvent) async throws -> String? {
        let row = try await connection.query(
            "SELECT district_id FROM delivery_status WHERE blast_id = $1 AND recipient_no = $2",
            [
                .uuid(high: event.delivery.blast.high, low: event.delivery.blast.low),
                .int4(event.delivery.recipientNumber),
            ]
        ).first
        guard let row else {
            return "the delivery \(event.delivery) has no row: its blast was deleted, has expired or was never here"
        }
        guard try row.int("district_id") == event.district.number else {
            return "the delivery \(event.delivery) belongs to another district"
        }
        return nil
    }
}
