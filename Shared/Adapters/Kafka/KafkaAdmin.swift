internal import BlockingExecutor

/// A topic as it should be created.
public struct TopicSpecification: Sendable {
    public let name: String
    public let partitions: Int32
    public let replicationFactor: Int16
    /// Broker-side topic properties, such as `cleanup.policy`.
    public let configuration: [String: String]

    public init(name: String, partitions: Int32, replicationFactor: Int16, configuration: [String: String] = [:]) {
        self.name = name
        self.partitions = partitions
        self.replicationFactor = replicationFactor
        self.configuration = configuration
    }
}

/// Topic administration, for set-up and for readiness checks.
public actor KafkaAdmin {
    private let thread: DedicatedThread
    private var handle: RdkafkaAdminHandle?

    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe thread.asUnownedSerialExecutor() }

    /// Creates the client; does not wait for a broker.
    public init(_ configuration: KafkaConfiguration) throws {
        handle = try RdkafkaAdminHandle(configuration.adminProperties())
        thread = DedicatedThread(name: "kafka-admin")
    }

    /// The number of partitions of every topic in the cluster, by name.
    public func existingTopics(timeout: Duration) throws -> [String: Int] {
        guard let topics = try handle?.topics(within: timeout) else { throw KafkaError.closed("admin client") }
        return topics
    }

    /// Creates the topics and returns when the cluster has them.
    ///
    /// The broker decides on each topic by itself: when this throws, the error's reason names those it refused, and
    /// the others exist. ``KafkaError/Code/topicAlreadyExists`` means that nothing else was wrong.
    public func create(_ topics: [TopicSpecification], timeout: Duration) throws {
        guard !topics.isEmpty else { return }
        guard let created: Void = try handle?.create(topics, within: timeout) else {
            throw KafkaError.closed("admin client")
        }
        return created
    }

    /// The cluster's id, asked of a broker now.
    public func clusterID(timeout: Duration) throws -> String? {
        guard handle != nil else { throw KafkaError.closed("admin client") }
        return try handle?.clusterID(within: timeout)
    }

    /// Ends the client and its thread. Every later call throws ``KafkaError/Code/closed``.
    public func close() {
        handle = nil
        thread.stop()
    }
}
