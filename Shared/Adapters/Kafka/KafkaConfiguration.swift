/// Where the cluster is and who is calling.
///
/// The clients choose every delivery-relevant librdkafka property themselves: idempotent producers with `acks=all`,
/// consumers that commit and store no offset on their own and treat a missing offset as an error.
public struct KafkaConfiguration: Sendable {
    /// `host:port`, comma separated.
    public let bootstrapServers: String
    /// Shown in broker logs and quotas.
    public let clientID: String
    /// librdkafka properties that win over the clients' own, for TLS, SASL and timeouts. A property that concerns
    /// only the other kind of client is ignored by librdkafka; an unknown name or value fails the client's `init`.
    public let overrides: [String: String]

    public init(bootstrapServers: String, clientID: String, overrides: [String: String] = [:]) {
        self.bootstrapServers = bootstrapServers
        self.clientID = clientID
        self.overrides = overrides
    }
}

/// What librdkafka is told: required properties, and those that only newer releases know.
struct ClientProperties: Sendable {
    var required: [String: String]
    /// Skipped without error where the linked librdkafka does not know the name.
    var whereKnown: [String: String] = [:]
}

extension KafkaConfiguration {
    func consumerProperties(groupID: String?, enablePartitionEOF: Bool) -> ClientProperties {
        properties(
            adding: [
                // librdkafka refuses manual assignment without a group; nothing is joined or committed then.
                "group.id": groupID ?? "\(clientID)-ungrouped",
                "partition.assignment.strategy": "range",
                "enable.auto.commit": "false",
                "enable.auto.offset.store": "false",
                "auto.offset.reset": "error",
                "enable.partition.eof": enablePartitionEOF ? "true" : "false",
                "check.crcs": "true",
                "queued.max.messages.kbytes": "8192",
                "fetch.max.bytes": "8388608",
                "fetch.error.backoff.ms": "100",
                "fetch.wait.max.ms": "100",
            ],
            // The default of one second would stall a fast consumer each time the small queue above is full.
            whereKnown: ["fetch.queue.backoff.ms": "5"])
    }

    func producerProperties(messageTimeout: Duration?) -> ClientProperties {
        properties(adding: [
            "enable.idempotence": "true",
            "acks": "all",
            "partitioner": "murmur2_random",
            "message.timeout.ms": String(messageTimeout.map { max(1, $0.wholeMilliseconds) } ?? 0),
            "linger.ms": "5",
            "queue.buffering.max.messages": "100000",
            "queue.buffering.max.kbytes": "65536",
            "topic.metadata.propagation.max.ms": "5000",
        ])
    }

    func adminProperties() -> ClientProperties {
        properties(adding: [:])
    }

    private func properties(
        adding specific: [String: String], whereKnown: [String: String] = [:]
    ) -> ClientProperties {
        let common = [
            "bootstrap.servers": bootstrapServers,
            "client.id": clientID,
            "allow.auto.create.topics": "false",
            "socket.keepalive.enable": "true",
            "socket.nagle.disable": "true",
            "reconnect.backoff.max.ms": "2000",
            "topic.metadata.refresh.interval.ms": "60000",
            "log_level": "4",
            "log.queue": "true",
        ]
        let required = common.merging(specific) { $1 }.merging(overrides) { $1 }
        return ClientProperties(
            required: required, whereKnown: whereKnown.filter { required[$0.key] == nil })
    }
}

extension Duration {
    /// Rounded up, so that a positive wait never becomes none, and clamped to what librdkafka takes.
    var wholeMilliseconds: Int32 {
        guard self > .zero else { return 0 }
        guard self < .milliseconds(Int32.max) else { return Int32.max }
        let (seconds, attoseconds) = components
        return Int32(seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
    }
}
