import Contracts
import Kafka

/// A record that a service put aside, wherever it was found.
struct ParkedRecord: Sendable {
    enum Kind: String, CaseIterable, Sendable {
        /// Nobody can read it, or it contradicts our rows.
        case unreadable
        /// It names a delivery that had no row.
        case late
    }

    /// Where a record stands, or stood.
    struct Place: Sendable, Hashable {
        let cluster: String
        let partition: TopicPartition
        let offset: Int64

        var text: String { "\(partition.topic)/\(partition.partition)/\(offset)" }
    }

    /// `dead/…` or `late/…`, then cluster, topic, partition and offset; for what came in otherwise, where and a digest.
    let id: String
    let kind: Kind
    var services: Set<String>
    /// Nil when it came in by another way than a topic.
    let place: Place?
    let origin: String
    let reason: String
    let key: [UInt8]?
    let value: [UInt8]?
    /// Nil where only the octets were kept: the record itself has them, as long as its topic does.
    let headers: [KafkaHeader]?
    let parkedAtMicroseconds: Int64
    var replay: Replay?

    struct Replay: Sendable {
        let actor: String
        let atMicroseconds: Int64
    }

    static func id(_ kind: Kind, _ place: Place) -> String {
        let prefix = kind == .late ? "late" : "dead"
        return "\(prefix)/\(place.cluster)/\(place.text)"
    }

    /// The place that a dead letter's id names.
    static func place(ofID id: String) -> Place? {
        let parts = id.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count >= 5, parts[0] == "dead", let offset = Int64(parts[parts.count - 1]), offset >= 0,
            let part = Int32(parts[parts.count - 2]), part >= 0
        else { return nil }
        return Place(
            cluster: parts[1..<(parts.count - 3)].joined(separator: "/"),
            partition: TopicPartition(topic: String(parts[parts.count - 3]), partition: part), offset: offset)
    }

    /// A record of the dead-letter topic.
    init?(deadLetter record: ConsumerRecord, withContent: Bool) {
        guard let attributes = try? CloudEventAttributes(header: { record.header($0) }),
            attributes.type == DeadLetter.type
        else { return nil }
        id = attributes.id
        kind = .unreadable
        services = [Self.service(attributes.source)]
        place = Self.place(ofID: attributes.id)
        origin = attributes.subject
        reason = record.header(DeadLetter.reasonHeader) ?? "no reason was given"
        key = nil
        value = withContent ? record.value : nil
        headers = nil
        parkedAtMicroseconds = attributes.timeMicroseconds
    }

    /// A row that the projector wrote; without its octets, all three are nil.
    init(
        _ kind: Kind, place: Place, reason: String, key: [UInt8]?, value: [UInt8]?, headers: [KafkaHeader]?,
        parkedAtMicroseconds: Int64
    ) {
        id = Self.id(kind, place)
        self.kind = kind
        services = ["status-projector"]
        self.place = place
        origin = "\(place.partition.topic)/\(place.partition.partition)"
        self.reason = reason
        self.key = key
        self.value = value
        self.headers = headers
        self.parkedAtMicroseconds = parkedAtMicroseconds
    }

    private static func service(_ source: String) -> String { String(source.split(separator: "/").last ?? "unknown") }
}
