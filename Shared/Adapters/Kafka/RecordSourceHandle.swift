internal import CRdkafka

/// Copies fetched messages into records: every payload once, a topic's name once per assignment.
@safe
struct RecordSource {
    /// Keyed by the address of librdkafka's topic object, which lives as long as the assignment.
    private var topics: [UInt: String] = [:]
    private var lastTopic: UInt = 0
    private var lastPartition = TopicPartition(topic: "", partition: -1)

    mutating func forgetTopics() {
        topics.removeAll()
        lastTopic = 0
    }

    mutating func append(_ event: OpaquePointer, to records: inout [ConsumerRecord]) {
        while let message = unsafe rd_kafka_event_message_next(event) {
            guard unsafe message.pointee.err == RD_KAFKA_RESP_ERR_NO_ERROR else { continue }
            unsafe records.append(
                ConsumerRecord(
                    topicPartition: partition(of: message),
                    offset: message.pointee.offset,
                    timestampMs: rd_kafka_message_timestamp(message, nil),
                    key: Self.bytes(message.pointee.key, message.pointee.key_len),
                    value: Self.bytes(message.pointee.payload, message.pointee.len),
                    headers: Self.headers(of: message)))
        }
    }

    private mutating func partition(of message: UnsafePointer<rd_kafka_message_t>) -> TopicPartition {
        let topic = unsafe message.pointee.rkt
        let address = UInt(bitPattern: topic)
        let partition = unsafe message.pointee.partition
        if address == lastTopic, partition == lastPartition.partition { return lastPartition }
        let name = topics[address] ?? (unsafe String(cString: rd_kafka_topic_name(topic)))
        topics[address] = name
        lastTopic = address
        lastPartition = TopicPartition(topic: name, partition: partition)
        return lastPartition
    }

    private static func bytes(_ start: UnsafeRawPointer?, _ count: Int) -> [UInt8]? {
        guard let start = unsafe start else { return nil }
        return unsafe Array(UnsafeRawBufferPointer(start: start, count: count))
    }

    private static func headers(of message: UnsafePointer<rd_kafka_message_t>) -> [KafkaHeader] {
        var list: OpaquePointer?
        guard unsafe rd_kafka_message_headers(message, &list) == RD_KAFKA_RESP_ERR_NO_ERROR else { return [] }
        let count = unsafe rd_kafka_header_cnt(list)
        var headers: [KafkaHeader] = []
        headers.reserveCapacity(count)
        for index in 0..<count {
            var name: UnsafePointer<CChar>?
            var value: UnsafeRawPointer?
            var size = 0
            guard
                unsafe rd_kafka_header_get_all(list, index, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR,
                let name = unsafe name
            else { break }
            unsafe headers.append(KafkaHeader(name: String(cString: name), value: bytes(value, size) ?? []))
        }
        return headers
    }
}
