public import Contracts
public import Kafka

/// How the values of the contract become records, the same for every writer.
extension CloudEventAttributes {
    public var kafkaHeaders: [KafkaHeader] { headers.map { KafkaHeader(name: $0.name, text: $0.value) } }
}

extension ProducerRecord {
    public init(topic: Topic, key: [UInt8], value: [UInt8]?, attributes: CloudEventAttributes) {
        self.init(topic: topic.name, key: key, value: value, headers: attributes.kafkaHeaders)
    }

    public init(_ event: DeliveryEvent) throws {
        let key = event.key
        self.init(
            topic: Topic.deliveryEvents.name, key: key, value: try event.value(),
            headers: event.headerOctets(key: key).map { KafkaHeader(name: $0.name, value: $0.value) })
    }

    public init(_ message: ChunkMessage) throws {
        self.init(topic: message.topic, key: message.key, value: try message.value(), attributes: message.attributes)
    }

    public init(_ status: DeliveryStatusRecord) throws {
        let key = status.key
        self.init(
            topic: Topic.deliveryStatus.name, key: key, value: try status.value(),
            headers: status.headerOctets(key: key).map { KafkaHeader(name: $0.name, value: $0.value) })
    }

    public init(_ progress: BlastProgressRecord) throws {
        self.init(
            topic: .blastProgress, key: progress.key, value: try progress.value(), attributes: progress.attributes)
    }

    public init(_ expired: BlastExpiredRecord) throws {
        self.init(topic: .blastProgress, key: expired.key, value: try expired.value(), attributes: expired.attributes)
    }

    public init(_ command: Command) throws {
        self.init(topic: .commands, key: command.key, value: try command.value(), attributes: command.attributes)
    }

    public init(_ letter: DeadLetter) {
        self.init(
            topic: Topic.deadLetters.name, key: letter.key, value: letter.value,
            headers: letter.headers.map { KafkaHeader(name: $0.name, text: $0.value) })
    }

    public init(_ entry: BlacklistRecord) throws {
        self.init(topic: .blacklist, key: entry.key, value: try entry.value(), attributes: entry.attributes)
    }
}
