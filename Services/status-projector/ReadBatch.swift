import Contracts
import Kafka

/// Records of one partition, read against the contract.
struct ReadBatch: Sendable {
    private(set) var events: [ReadEvent] = []
    private(set) var unreadable: [Unreadable] = []
    /// Offset and id of the last record, for the fence.
    let tail: (nextOffset: Int64, eventID: String?)

    /// A record that is not the contract, parked with its reason and never guessed at.
    struct Unreadable: Sendable {
        let offset: Int64
        let reason: String
        let record: ConsumerRecord
    }

    init(_ records: some BidirectionalCollection<ConsumerRecord>) {
        events.reserveCapacity(records.count)
        for record in records {
            do {
                let value = record.value ?? []
                let event =
                    if let plain = DeliveryEvent(plain: value, header: { record.octets(ofHeader: $0) }) { plain } else {
                        try DeliveryEvent(value: value) { record.header($0) }
                    }
                events.append(
                    ReadEvent(
                        event: event, offset: record.offset,
                        recordedAtMicroseconds: Self.recordedAt(record) ?? event.occurredAtMicroseconds, value: value))
            } catch {
                unreadable.append(Unreadable(offset: record.offset, reason: error.reason, record: record))
            }
        }
        tail = ((records.last?.offset ?? -1) + 1, records.last.map(Self.identity(of:)))
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

    /// The same records, with the events at these offsets passed over.
    func leavingOut(_ offsets: Set<Int64>) -> ReadBatch {
        guard !offsets.isEmpty else { return self }
        var batch = self
        batch.events.removeAll { offsets.contains($0.offset) }
        return batch
    }
}
