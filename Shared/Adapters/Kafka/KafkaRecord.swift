/// One partition of one topic.
public struct TopicPartition: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let topic: String
    public let partition: Int32

    public init(topic: String, partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    public static func < (left: TopicPartition, right: TopicPartition) -> Bool {
        (left.topic, left.partition) < (right.topic, right.partition)
    }

    public var description: String { "\(topic)[\(partition)]" }
}

/// A record header. Kafka allows several with one name and gives values no character set.
public struct KafkaHeader: Hashable, Sendable {
    public let name: String
    public let value: [UInt8]

    public init(name: String, value: [UInt8]) {
        self.name = name
        self.value = value
    }

    /// A header whose value is the text's UTF-8 bytes.
    public init(name: String, text: String) {
        self.init(name: name, value: Array(text.utf8))
    }
}

/// A record to be published.
public struct ProducerRecord: Sendable {
    public let topic: String
    /// Decides the partition unless `partition` is set: records of one key stay in order.
    public let key: [UInt8]
    /// `nil` is a tombstone: a compacted topic forgets the key.
    public let value: [UInt8]?
    public let headers: [KafkaHeader]
    public let partition: Int32?

    public init(
        topic: String, key: [UInt8], value: [UInt8]?, headers: [KafkaHeader], partition: Int32? = nil
    ) {
        self.topic = topic
        self.key = key
        self.value = value
        self.headers = headers
        self.partition = partition
    }
}

/// A record as the broker returned it.
public struct ConsumerRecord: Sendable {
    public let topicPartition: TopicPartition
    public let offset: Int64
    /// Milliseconds since 1970, or -1 where the record carries none.
    public let timestampMs: Int64
    public let key: [UInt8]?
    /// `nil` is a tombstone.
    public let value: [UInt8]?
    public let headers: [KafkaHeader]

    public init(
        topicPartition: TopicPartition, offset: Int64, timestampMs: Int64, key: [UInt8]?, value: [UInt8]?,
        headers: [KafkaHeader]
    ) {
        self.topicPartition = topicPartition
        self.offset = offset
        self.timestampMs = timestampMs
        self.key = key
        self.value = value
        self.headers = headers
    }

    /// The text of the last header with this name, compared byte by byte; `nil` when there is none, or when its value
    /// is not UTF-8.
    public func header(_ name: String) -> String? {
        octets(ofHeader: name).flatMap { String(validating: $0, as: UTF8.self) }
    }

    /// The value of the last header with this name, compared byte by byte; `nil` when there is none.
    public func octets(ofHeader name: String) -> [UInt8]? {
        let count = name.utf8.count
        return headers.last { $0.name.utf8.count == count && $0.name.utf8.elementsEqual(name.utf8) }?.value
    }
}
