/// Why Kafka did not do what was asked. Carries no record contents.
public struct KafkaError: Error, Sendable, Hashable, CustomStringConvertible {
    /// librdkafka's error number: negative for the client's own, positive for a broker's.
    public struct Code: RawRepresentable, Hashable, Sendable {
        public let rawValue: Int32

        public init(rawValue: Int32) {
            self.rawValue = rawValue
        }

        public static let badMessage = Code(rawValue: -199)
        public static let closed = Code(rawValue: -197)
        public static let transport = Code(rawValue: -195)
        public static let messageTimedOut = Code(rawValue: -192)
        public static let unknownPartition = Code(rawValue: -190)
        public static let unknownTopic = Code(rawValue: -188)
        public static let allBrokersDown = Code(rawValue: -187)
        public static let invalidConfiguration = Code(rawValue: -186)
        public static let timedOut = Code(rawValue: -185)
        public static let queueFull = Code(rawValue: -184)
        public static let authentication = Code(rawValue: -169)
        public static let fatal = Code(rawValue: -150)
        public static let unknownTopicOrPartition = Code(rawValue: 3)
        public static let messageTooLarge = Code(rawValue: 10)
        public static let notEnoughReplicas = Code(rawValue: 19)
        public static let topicAuthorizationFailed = Code(rawValue: 29)
        public static let groupAuthorizationFailed = Code(rawValue: 30)
        public static let clusterAuthorizationFailed = Code(rawValue: 31)
        public static let topicAlreadyExists = Code(rawValue: 36)
        public static let invalidProducerEpoch = Code(rawValue: 47)
        public static let unknownProducerID = Code(rawValue: 59)
        public static let producerFenced = Code(rawValue: 90)
    }

    public let code: Code
    /// What was being done and why it failed.
    public let reason: String
    /// The client that threw cannot be used any more; create a new one.
    public let isFatal: Bool

    public init(code: Code, reason: String, isFatal: Bool = false) {
        self.code = code
        self.reason = reason
        self.isFatal = isFatal
    }

    /// The same call may succeed later without anybody changing a thing. After a failed
    /// ``KafkaProducer/send(_:)`` some of the records may be on the topic already.
    public var isRetriable: Bool { !isFatal && Self.retriable.contains(code.rawValue) }

    public var description: String { "\(reason) (Kafka error \(code.rawValue))" }

    static func closed(_ client: String) -> KafkaError {
        KafkaError(code: .closed, reason: "the Kafka \(client) is closed")
    }

    /// Client side: transport, resolve, message timeout, unknown partition, unknown topic, all brokers down, timeout,
    /// queue full, wait for coordinator, in progress, timeout in queue, wait for cache, interrupted, purged in flight,
    /// purged from queue, fatal (the producer replaces its client). Broker side: corrupt message, unknown topic,
    /// leader and replica changes, timeouts, network, coordinator changes, not enough replicas, group generation and
    /// membership, not controller, sequence and producer id, storage, leader epochs.
    private static let retriable: Set<Int32> = [
        -195, -193, -192, -190, -188, -187, -185, -184, -180, -178, -166, -164, -163, -152, -151, -150,
        2, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 22, 25, 27, 41, 45, 56, 59, 74, 75,
    ]
}
