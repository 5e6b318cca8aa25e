internal import CRdkafka

/// One consumer and the queue on which its records, rebalances, errors and logs arrive in order.
@safe
struct RdkafkaConsumerHandle: ~Copyable {
    private let client: RdkafkaClientHandle
    private let queue: OpaquePointer
    private let hasGroup: Bool
    /// Something that arrived behind records; handed out by the next turn, so that the records are finished first.
    private var deferred: Result<ConsumerStep, KafkaError>?
    /// A rebalance was taken from the queue and not answered yet.
    private var owesAnswer = false
    private var source = RecordSource()
    private(set) var lastError: String?

    init(_ properties: ClientProperties, hasGroup: Bool) throws {
        // Without a group there is no consumer queue.
        guard properties.required["group.id"]?.isEmpty == false else {
            throw KafkaError(code: .invalidConfiguration, reason: "Kafka property group.id: must not be empty")
        }
        let events =
            RD_KAFKA_EVENT_FETCH | RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_OFFSET_COMMIT
            | RD_KAFKA_EVENT_LOG
        client = try RdkafkaClientHandle(RD_KAFKA_CONSUMER, properties, events: events)
        unsafe rd_kafka_poll_set_consumer(client.raw)
        unsafe queue = rd_kafka_queue_get_consumer(client.raw)
        self.hasGroup = hasGroup
        _ = unsafe rd_kafka_set_log_queue(client.raw, queue)
    }

    deinit {
        unsafe rd_kafka_queue_destroy(queue)
    }

    // MARK: Steps

    mutating func next(max: Int, wait: Duration) throws -> ConsumerStep {
        if let step = deferred {
            deferred = nil
            return try step.get()
        }
        let deadline = ContinuousClock.now + wait
        var remaining = wait
        var records: [ConsumerRecord] = []
        while records.count < max {
            guard let event = unsafe rd_kafka_queue_poll(queue, remaining.wholeMilliseconds) else { break }
            defer { unsafe rd_kafka_event_destroy(event) }
            if unsafe rd_kafka_event_type(event) == RD_KAFKA_EVENT_FETCH {
                unsafe source.append(event, to: &records)
                remaining = .zero
                continue
            }
            guard let step = unsafe step(for: event) else {
                remaining = records.isEmpty ? deadline - .now : .zero
                continue
            }
            guard records.isEmpty else {
                deferred = step
                break
            }
            return try step.get()
        }
        return records.isEmpty ? .idle : .records(records)
    }

    /// The step an event other than a record stands for; `nil` where it is only to be remembered.
    private mutating func step(for event: OpaquePointer) -> Result<ConsumerStep, KafkaError>? {
        let code = unsafe rd_kafka_event_error(event)
        switch unsafe rd_kafka_event_type(event) {
        case RD_KAFKA_EVENT_REBALANCE:
            let partitions = unsafe Self.partitions(rd_kafka_event_topic_partition_list(event))
            owesAnswer = true
            return .success(code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS ? .assigned(partitions) : .revoked(partitions))
        case RD_KAFKA_EVENT_ERROR:
            return unsafe errorStep(event, code)
        case RD_KAFKA_EVENT_OFFSET_COMMIT:
            guard code != RD_KAFKA_RESP_ERR_NO_ERROR, code != RD_KAFKA_RESP_ERR__NO_OFFSET else { return nil }
            lastError = client.error(code, "offset commit").description
            return nil
        case RD_KAFKA_EVENT_LOG:
            if let message = unsafe client.message(of: event) { lastError = message }
            return nil
        default:
            return nil
        }
    }

    private mutating func errorStep(
        _ event: OpaquePointer, _ code: rd_kafka_resp_err_t
    ) -> Result<ConsumerStep, KafkaError>? {
        let message = unsafe client.message(of: event) ?? ""
        switch code {
        case RD_KAFKA_RESP_ERR__PARTITION_EOF:
            guard let (partition, offset) = unsafe Self.position(of: event) else { return nil }
            return .success(.endOfPartition(partition, nextOffset: offset))
        case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
            guard let (partition, _) = unsafe Self.position(of: event) else { return nil }
            lastError = "\(partition): \(message)"
            return .success(.offsetOutOfRange(partition))
        case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
            RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
            lastError = message
            // A topic that is only awaited names no partition. One that went away while it was read may come back with
            // other records under the same offsets: whoever reads it has to start over and look.
            guard let (partition, _) = unsafe Self.position(of: event), partition.partition >= 0 else { return nil }
            return .failure(
                KafkaError(code: .unknownTopicOrPartition, reason: "\(partition) is not there any more: \(message)"))
        case RD_KAFKA_RESP_ERR__FATAL:
            return .failure(KafkaError(code: .fatal, reason: client.fatalError() ?? message, isFatal: true))
        case RD_KAFKA_RESP_ERR__BAD_MSG, RD_KAFKA_RESP_ERR__BAD_COMPRESSION,
            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
            RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
            return .failure(KafkaError(code: KafkaError.Code(rawValue: code.rawValue), reason: message))
        default:
            lastError = message
            return nil
        }
    }

    // MARK: Subscription and assignment

    func subscribe(_ topics: [String]) throws {
        try unsafe withList(topics.map { (TopicPartition(topic: $0, partition: -1), Self.invalidOffset) }) { list in
            try unsafe client.check(rd_kafka_subscribe(client.raw, list), "subscribe to \(topics)")
        }
    }

    mutating func assign(_ offsets: [TopicPartition: StartOffset], committedWithin timeout: Duration) throws {
        let committed = try committedOffsets(
            of: offsets.filter { $0.value == .committed }.map(\.key), within: timeout)
        let positions = offsets.map { (partition, start) in
            switch start {
            case .offset(let offset): (partition, offset)
            case .committed: (partition, committed[partition] ?? Self.beginning)
            case .beginning: (partition, Self.beginning)
            case .end: (partition, Self.end)
            }
        }
        source.forgetTopics()
        try unsafe withList(positions) { list in
            try unsafe client.check(rd_kafka_assign(client.raw, list), "assign \(offsets.keys.sorted())")
        }
        owesAnswer = false
    }

    mutating func unassign() throws {
        source.forgetTopics()
        try unsafe client.check(rd_kafka_assign(client.raw, nil), "give the assignment back")
        owesAnswer = false
    }

    func pause(_ partitions: [TopicPartition]) throws {
        try unsafe withList(partitions.map { ($0, Self.invalidOffset) }) { list in
            try unsafe client.check(rd_kafka_pause_partitions(client.raw, list), "pause \(partitions)")
        }
    }

    func resume(_ partitions: [TopicPartition]) throws {
        try unsafe withList(partitions.map { ($0, Self.invalidOffset) }) { list in
            try unsafe client.check(rd_kafka_resume_partitions(client.raw, list), "resume \(partitions)")
        }
    }

    // MARK: Offsets

    func commit(_ nextOffsets: [TopicPartition: Int64]) throws {
        try requireGroup("commit offsets")
        try unsafe withList(nextOffsets.map { ($0.key, $0.value) }) { list in
            try unsafe client.check(rd_kafka_commit(client.raw, list, 1), "offset commit")
        }
    }

    private func committedOffsets(
        of partitions: [TopicPartition], within timeout: Duration
    ) throws -> [TopicPartition: Int64] {
        guard !partitions.isEmpty else { return [:] }
        try requireGroup("start at committed offsets")
        var offsets: [TopicPartition: Int64] = [:]
        try unsafe withList(partitions.map { ($0, Self.invalidOffset) }) { list in
            try unsafe client.check(
                rd_kafka_committed(client.raw, list, timeout.wholeMilliseconds), "read committed offsets")
            try unsafe Self.forEach(list) { element in
                try unsafe client.check(element.err, "read committed offsets")
                guard unsafe element.offset >= 0 else { return }
                unsafe offsets[
                    TopicPartition(topic: String(cString: element.topic), partition: element.partition)
                ] = element.offset
            }
        }
        return offsets
    }

    func watermarks(_ partition: TopicPartition, within timeout: Duration) throws -> (low: Int64, high: Int64) {
        var low: Int64 = -1
        var high: Int64 = -1
        let cached = unsafe rd_kafka_get_watermark_offsets(
            client.raw, partition.topic, partition.partition, &low, &high)
        if cached == RD_KAFKA_RESP_ERR_NO_ERROR, low >= 0, high >= 0 { return (low, high) }
        return try leaderWatermarks(partition, within: timeout)
    }

    func leaderWatermarks(_ partition: TopicPartition, within timeout: Duration) throws -> (low: Int64, high: Int64) {
        var low: Int64 = -1
        var high: Int64 = -1
        try unsafe client.check(
            rd_kafka_query_watermark_offsets(
                client.raw, partition.topic, partition.partition, &low, &high, timeout.wholeMilliseconds),
            "watermarks of \(partition)")
        return (low, high)
    }

    func partitionCount(of topic: String, within timeout: Duration) throws -> Int? {
        try client.topics(within: timeout)[topic]
    }

    func clusterID(within timeout: Duration) throws -> String? {
        try client.clusterID(within: timeout)
    }

    // MARK: Close

    /// Gives back what was handed out last where its taker has not answered: the client waits for that answer, and so
    /// does the end of its threads.
    mutating func settleRebalance() {
        if owesAnswer { try? unassign() }
    }

    /// Leaves the group and answers the rebalances that come with it. Gives up waiting at the deadline; the group
    /// then notices by session timeout.
    mutating func close(within timeout: Duration) {
        let deadline = ContinuousClock.now + timeout
        deferred = nil
        settleRebalance()
        guard (try? unsafe client.check(rd_kafka_consumer_close_queue(client.raw, queue), "close")) != nil else {
            return
        }
        while unsafe rd_kafka_consumer_closed(client.raw) == 0, ContinuousClock.now < deadline {
            guard let event = unsafe rd_kafka_queue_poll(queue, 20) else { continue }
            defer { unsafe rd_kafka_event_destroy(event) }
            if unsafe rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE {
                _ = unsafe rd_kafka_assign(client.raw, nil)
            }
        }
    }

    // MARK: Lists

    private static let invalidOffset: Int64 = -1001
    private static let beginning: Int64 = -2
    private static let end: Int64 = -1

    private func requireGroup(_ operation: String) throws {
        guard !hasGroup else { return }
        throw KafkaError(
            code: .invalidConfiguration, reason: "cannot \(operation): this consumer was created without a group")
    }

    private func withList(
        _ positions: [(TopicPartition, Int64)],
        _ body: (UnsafeMutablePointer<rd_kafka_topic_partition_list_t>) throws -> Void
    ) throws {
        guard let list = unsafe rd_kafka_topic_partition_list_new(Int32(positions.count)) else { return }
        defer { unsafe rd_kafka_topic_partition_list_destroy(list) }
        for (partition, offset) in positions {
            let element = unsafe rd_kafka_topic_partition_list_add(list, partition.topic, partition.partition)
            unsafe element?.pointee.offset = offset
        }
        try unsafe body(list)
    }

    private static func forEach(
        _ list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>?,
        _ body: (rd_kafka_topic_partition_t) throws -> Void
    ) rethrows {
        guard let list = unsafe list else { return }
        for index in 0..<Int(unsafe list.pointee.cnt) {
            try unsafe body(list.pointee.elems[index])
        }
    }

    private static func partitions(
        _ list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>?
    ) -> [TopicPartition] {
        var partitions: [TopicPartition] = []
        unsafe forEach(list) { element in
            unsafe partitions.append(
                TopicPartition(topic: String(cString: element.topic), partition: element.partition))
        }
        return partitions
    }

    private static func position(of event: OpaquePointer) -> (TopicPartition, Int64)? {
        guard let element = unsafe rd_kafka_event_topic_partition(event) else { return nil }
        defer { unsafe rd_kafka_topic_partition_destroy(element) }
        return unsafe (
            TopicPartition(topic: String(cString: element.pointee.topic), partition: element.pointee.partition),
            element.pointee.offset
        )
    }
}
