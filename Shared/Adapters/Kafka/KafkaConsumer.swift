internal import BlockingExecutor

/// A consumer that hands out one ``ConsumerStep`` at a time, on a thread of its own.
///
/// It never commits, seeks, resets or skips on its own: which offset a partition starts at is always the caller's
/// decision, because the offsets that count are kept with the caller's data. One caller drives it; a step has to end
/// within `max.poll.interval.ms` (five minutes), or the group takes the partitions away.
///
/// ```swift
/// switch try await consumer.next(max: 500, wait: .milliseconds(200)) {
/// case .assigned(let partitions): try await consumer.assign(store.offsets(of: partitions))
/// case .records(let batch): try await store.apply(batch)
/// case .revoked: try await consumer.unassign()
/// …
/// }
/// ```
///
/// End with ``close()``. A consumer that is only dropped stays a member of its group until the session times out.
public actor KafkaConsumer {
    private let thread: DedicatedThread
    private var handle: RdkafkaConsumerHandle?
    /// The group is being joined: it has been asked for partitions and has not answered yet.
    private var isJoining = false

    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe thread.asUnownedSerialExecutor() }

    /// Creates the client; does not wait for a broker.
    ///
    /// - Parameters:
    ///   - groupID: the group to join and to commit for. Without one, only ``assign(_:)`` with explicit offsets works.
    ///   - enablePartitionEOF: report ``ConsumerStep/endOfPartition(_:nextOffset:)``.
    public init(_ configuration: KafkaConfiguration, groupID: String?, enablePartitionEOF: Bool = false) throws {
        handle = try RdkafkaConsumerHandle(
            configuration.consumerProperties(groupID: groupID, enablePartitionEOF: enablePartitionEOF),
            hasGroup: groupID != nil)
        thread = DedicatedThread(name: "kafka-consumer")
    }

    /// Joins the group for these topics. The partitions follow as ``ConsumerStep/assigned(_:)``.
    public func subscribe(_ topics: [String]) throws {
        try open(handle?.subscribe(topics))
        isJoining = true
    }

    /// Waits up to `wait` for something to happen and returns it. Returns as soon as anything is there; takes along up
    /// to `max` records that have already arrived.
    ///
    /// Connection troubles are not errors: librdkafka reconnects, the step is ``ConsumerStep/idle`` and ``lastError``
    /// tells why. Throws when the client is unusable, the broker refuses access, or a record is corrupt.
    public func next(max: Int, wait: Duration) throws -> ConsumerStep {
        precondition(max > 0, "a step takes at least one record")
        let step = try open(handle?.next(max: max, wait: wait))
        switch step {
        case .assigned: isJoining = false
        case .revoked: isJoining = true
        default: break
        }
        return step
    }

    /// Starts reading exactly these partitions, each where it says, and stops reading any other.
    ///
    /// ``StartOffset/committed`` is looked up here and waits for the group coordinator, at most ten seconds.
    public func assign(_ offsets: [TopicPartition: StartOffset]) throws {
        try open(handle?.assign(offsets, committedWithin: .seconds(10)))
    }

    /// Stops reading. Records that librdkafka had fetched ahead are discarded.
    public func unassign() throws {
        try open(handle?.unassign())
    }

    /// Tells the group where reading would go on, without waiting. Advice for monitoring and for consumers that keep
    /// no offsets themselves: a failure only shows in ``lastError``.
    public func commit(_ nextOffsets: [TopicPartition: Int64]) throws {
        try open(handle?.commit(nextOffsets))
    }

    /// The oldest offset held and the one behind the newest.
    ///
    /// For a partition being read these come with the fetched data and cost nothing. For any other the broker is
    /// asked; `high` is then only as good as its ListOffsets answer.
    public func watermarks(_ topicPartition: TopicPartition, timeout: Duration) throws -> (low: Int64, high: Int64) {
        try open(handle?.watermarks(topicPartition, within: timeout))
    }

    /// The same, asked of the partition's leader now. Throws when it has none, or one that does not answer.
    public func leaderWatermarks(_ topicPartition: TopicPartition, timeout: Duration) throws -> (
        low: Int64, high: Int64
    ) {
        try open(handle?.leaderWatermarks(topicPartition, within: timeout))
    }

    /// How many partitions a topic has, asked of a broker now; nil when there is no such topic.
    public func partitionCount(of topic: String, timeout: Duration) throws -> Int? {
        guard handle != nil else { throw KafkaError.closed("consumer") }
        return try handle?.partitionCount(of: topic, within: timeout)
    }

    /// The cluster's id, asked of a broker now: another one than before means another cluster, or one that was
    /// started anew without its data.
    public func clusterID(timeout: Duration) throws -> String? {
        guard handle != nil else { throw KafkaError.closed("consumer") }
        return try handle?.clusterID(within: timeout)
    }

    /// Stops fetching these partitions; the assignment stays.
    public func pause(_ partitions: [TopicPartition]) throws {
        try open(handle?.pause(partitions))
    }

    /// Goes on with paused partitions behind the last record handed out.
    public func resume(_ partitions: [TopicPartition]) throws {
        try open(handle?.resume(partitions))
    }

    /// The last thing librdkafka complained about, for logs and readiness pages.
    public var lastError: String? { handle?.lastError }

    /// Leaves the group, so that others take over at once, and ends the thread. Takes about a millisecond, and at most
    /// nine seconds when the coordinator does not answer. A step about partitions may be left unanswered. Every later
    /// call throws ``KafkaError/Code/closed``.
    ///
    /// A join under way is finished first, within four seconds: the local broker waits for ever for a member that left
    /// politely while its group was forming, and nobody gets a partition again.
    public func close() {
        let deadline = ContinuousClock.now + .seconds(4)
        handle?.settleRebalance()
        while isJoining, ContinuousClock.now < deadline {
            guard (try? next(max: 1, wait: .milliseconds(200))) != nil else { break }
            handle?.settleRebalance()
        }
        handle?.close(within: .seconds(5))
        handle = nil
        thread.stop()
    }

    private func open<Value>(_ result: Value?) throws -> Value {
        guard let result else { throw KafkaError.closed("consumer") }
        return result
    }
}
