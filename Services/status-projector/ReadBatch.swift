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

    init(_ records: [ConsumerRecord]) {
        events.reserveCapacity(records.count)
        for record in records {
            do {
                let value = record.value ?? []
                let event = try DeliveryEvent(value: value) { record.header($0) }
                events.append(
                    ReadEvent(
                        event: event, offset: record.offset, recordedAtMicroseconds: record.timestampMs * 1000,
                        value: value))
            } catch {
                unreadable.append(Unreadable(offset: record.offset, reason: error.reason, record: record))
            }
        }
        tail = ((records.last?.offset ?? -1) + 1, records.last?.header("ce_id"))
    }
}
