internal import CRdkafka

/// A client for cluster administration only.
@safe
struct RdkafkaAdminHandle: ~Copyable {
    private let client: RdkafkaClientHandle
    private let replies: OpaquePointer

    init(_ properties: ClientProperties) throws {
        let events = RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG
        client = try RdkafkaClientHandle(RD_KAFKA_PRODUCER, properties, events: events)
        unsafe replies = rd_kafka_queue_new(client.raw)
    }

    deinit {
        unsafe rd_kafka_queue_destroy(replies)
    }

    func topics(within timeout: Duration) throws -> [String: Int] {
        discardEvents()
        return try client.topics(within: timeout)
    }

    func clusterID(within timeout: Duration) throws -> String? {
        discardEvents()
        return try client.clusterID(within: timeout)
    }

    func create(_ specifications: [TopicSpecification], within timeout: Duration) throws {
        discardEvents()
        var topics: [OpaquePointer?] = unsafe []
        defer { unsafe rd_kafka_NewTopic_destroy_array(&topics, topics.count) }
        for specification in specifications {
            try unsafe topics.append(Self.newTopic(specification))
        }
        let options = unsafe rd_kafka_AdminOptions_new(client.raw, RD_KAFKA_ADMIN_OP_CREATETOPICS)
        defer { unsafe rd_kafka_AdminOptions_destroy(options) }
        let milliseconds = max(1, timeout.wholeMilliseconds)
        try unsafe client.check(
            rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, nil, 0), "topic creation timeout")
        try unsafe client.check(
            rd_kafka_AdminOptions_set_operation_timeout(options, milliseconds, nil, 0), "topic creation timeout")
        unsafe rd_kafka_CreateTopics(client.raw, &topics, topics.count, options, replies)
        try waitForResult(within: timeout + .seconds(1))
    }

    private func waitForResult(within timeout: Duration) throws {
        guard let event = unsafe rd_kafka_queue_poll(replies, timeout.wholeMilliseconds) else {
            throw KafkaError(code: .timedOut, reason: "create topics: no answer within \(timeout)")
        }
        defer { unsafe rd_kafka_event_destroy(event) }
        try unsafe client.check(rd_kafka_event_error(event), "create topics")
        var count = 0
        let results = unsafe rd_kafka_CreateTopics_result_topics(
            rd_kafka_event_CreateTopics_result(event), &count)
        var failures: [(code: rd_kafka_resp_err_t, reason: String)] = []
        for index in 0..<count {
            let result = unsafe results?[index]
            let code = unsafe rd_kafka_topic_result_error(result)
            guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { continue }
            let name = unsafe String(cString: rd_kafka_topic_result_name(result))
            let text = unsafe String(cString: rd_kafka_topic_result_error_string(result) ?? rd_kafka_err2str(code))
            failures.append((code, "\(name): \(text)"))
        }
        let alreadyExists = RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS
        guard let worst = failures.first(where: { $0.code != alreadyExists }) ?? failures.first else { return }
        throw KafkaError(
            code: KafkaError.Code(rawValue: worst.code.rawValue),
            reason: "create topics: \(failures.map(\.reason).joined(separator: "; "))")
    }

    private static func newTopic(_ specification: TopicSpecification) throws -> OpaquePointer {
        var message = [CChar](repeating: 0, count: 256)
        guard
            let topic = unsafe rd_kafka_NewTopic_new(
                specification.name, specification.partitions, Int32(specification.replicationFactor), &message,
                message.count)
        else {
            let text = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            throw KafkaError(code: .invalidConfiguration, reason: "topic \(specification.name): \(text)")
        }
        for (name, value) in specification.configuration {
            _ = unsafe rd_kafka_NewTopic_set_config(topic, name, value)
        }
        return unsafe topic
    }

    /// Errors and logs pile up on the main queue, which nobody else polls.
    private func discardEvents() {
        let queue = unsafe rd_kafka_queue_get_main(client.raw)
        defer { unsafe rd_kafka_queue_destroy(queue) }
        _ = unsafe rd_kafka_set_log_queue(client.raw, queue)
        while let event = unsafe rd_kafka_queue_poll(queue, 0) { unsafe rd_kafka_event_destroy(event) }
    }
}
