import Contracts
import Kafka

/// Records of one partition, read against the contract.
struct ReadBatch: Sendable {
    private(set) var events: [ReadEvent] = []
    private(set) var unreadable: [Unreadable] = []
    private(set) var firstOffset: Int64
    /// Offset and id of the last record, for the fence.
    let tail: (nextOffset: Int64, eventID: String?)

    /// A record that is not the contract, or not where its delivery's records belong: parked with its reason and never
    /// guessed at.
    struct Unreadable: Sendable {
        let offset: Int64
        let reason: String
        let record: ConsumerRecord
    }

    /// - Parameter partitions: how many the topic has.
    init(
        _ records: some BidirectionalCollection<ConsumerRecord>, partitions: Int = Topic.deliveryEvents.partitions
    ) {
        events.reserveCapacity(records.count)
        for record in records {
            do {
                let value = record.value ?? []
                let event =
                    if let plain = DeliveryEvent(plain: value, header: { record.octets(ofHeader: $0) }) { plain } else {
                        try DeliveryEvent(value: value) { record.header($0) }
                    }
                try Self.requireHome(of: event, record, partitions)
                events.append(
                    ReadEvent(
                        event: event, offset: record.offset,
                        recordedAtMicroseconds: Self.recordedAt(record) ?? event.occurredAtMicroseconds, value: value))
            } catch {
                unreadable.append(Unreadable(offset: record.offset, reason: error.reason, record: record))
            }
        }
        firstOffset = records.first?.offset ?? 0
        tail = ((records.last?.offset ?? -1) + 1, records.last.map(Self.identity(of:)))
    }

    /// One partition's owner is the only writer of a delivery, and sequence numbers are compared within one partition.
    /// So an event elsewhere cannot be applied: later ones would be taken for older.
    private static func requireHome(
        of event: DeliveryEvent, _ record: ConsumerRecord, _ partitions: Int
    ) throws(ContractError) {
        let key = event.key
        guard record.key == key else { throw ContractError("the key is not the delivery of ce_subject") }
        let home = Murmur2.partition(of: key, count: partitions)
        guard record.topicPartition.partition == Int32(home) else {
            throw ContractError(
                "on partition \(record.topicPartition.partition), but its key belongs on \(home): "
                    + "the writer needs the partitioner murmur2")
        }
    }

    /// What tells a record from any other that may stand at its offset one day: its event id or, where it has none that
    /// can be stored, a digest of its octets.
    static func identity(of record: ConsumerRecord) -> String {
        if let id = record.header("ce_id"), !id.isEmpty, id.utf8.count <= 200, !id.utf8.contains(0) { return id }
        var digest: UInt64 = 0xcbf2_9ce4_8422_2325
        for octets in [record.key ?? [], record.value ?? []] {
            for octet in octets { digest = (digest ^ UInt64(octet)) &* 0x0000_0100_0000_01b3 }
        }
        return "unidentified/\(String(digest, radix: 16))"
    }

    /// The record's time, as the broker or the writer set it; nil when it has none or one that nobody can have meant.
    private static func recordedAt(_ record: ConsumerRecord) -> Int64? {
        let endOfYear9999: Int64 = 253_402_300_800_000
        return (0..<endOfYear9999).contains(record.timestampMs) ? record.timestampMs * 1000 : nil
    }

    /// Whether both were read from the same records: a topic made anew brings others at the same offsets.
    func hasSameRecords(as other: ReadBatch) -> Bool {
        firstOffset == other.firstOffset && tail == other.tail && events.count == other.events.count
    }

    /// The same records, without those before an offset.
    func starting(at offset: Int64) -> ReadBatch {
        guard firstOffset < offset else { return self }
        var batch = self
        batch.firstOffset = offset
        batch.events.removeAll { $0.offset < offset }
        batch.unreadable.removeAll { $0.offset < offset }
        return batch
    }

    /// The same records, with the events at these offsets passed over.
    func leavingOut(_ offsets: Set<Int64>) -> ReadBatch {
        guard !offsets.isEmpty else { return self }
        var batch = self
        batch.events.removeAll { offsets.contains($0.offset) }
        return batch
    }
}
