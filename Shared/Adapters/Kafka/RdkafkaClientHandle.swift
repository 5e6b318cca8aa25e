internal import CRdkafka

/// The `rd_kafka_t` under every client.
///
/// Dropping it destroys the client without leaving a consumer group in order: ``RdkafkaConsumerHandle/close(within:)``
/// does that. No queue reference may be left when it goes.
@safe
struct RdkafkaClientHandle: ~Copyable {
    let raw: OpaquePointer

    init(_ type: rd_kafka_type_t, _ properties: ClientProperties, events: Int32) throws {
        let configuration = unsafe rd_kafka_conf_new()
        var message = [CChar](repeating: 0, count: 512)
        do {
            for (name, value) in properties.required {
                let result = unsafe rd_kafka_conf_set(configuration, name, value, &message, message.count)
                guard result == RD_KAFKA_CONF_OK else {
                    let reason = "Kafka property \(name): \(Self.text(message))"
                    throw KafkaError(code: .invalidConfiguration, reason: reason)
                }
            }
            for (name, value) in properties.whereKnown {
                let result = unsafe rd_kafka_conf_set(configuration, name, value, &message, message.count)
                guard result != RD_KAFKA_CONF_INVALID else {
                    let reason = "Kafka property \(name): \(Self.text(message))"
                    throw KafkaError(code: .invalidConfiguration, reason: reason)
                }
            }
            unsafe rd_kafka_conf_set_events(configuration, events)
            guard let raw = unsafe rd_kafka_new(type, configuration, &message, message.count) else {
                let reason = "cannot create the Kafka client: \(Self.text(message))"
                throw KafkaError(code: .invalidConfiguration, reason: reason)
            }
            unsafe self.raw = raw
        } catch {
            unsafe rd_kafka_conf_destroy(configuration)
            throw error
        }
    }

    deinit {
        unsafe rd_kafka_destroy_flags(raw, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE)
    }

    /// Asks a broker instead of answering from librdkafka's cache, which keeps the id of a cluster that has gone until
    /// some metadata happens to arrive.
    func clusterID(within timeout: Duration) throws -> String? {
        try refreshMetadata(within: timeout)
        return knownClusterID()
    }

    /// The id in the newest metadata received, without asking anybody.
    func knownClusterID() -> String? {
        guard let id = unsafe rd_kafka_clusterid(raw, 0) else { return nil }
        defer { unsafe rd_kafka_mem_free(raw, id) }
        return unsafe String(cString: id)
    }

    /// Fetches the metadata of every topic this client uses.
    func refreshMetadata(within timeout: Duration) throws {
        var metadata: UnsafePointer<rd_kafka_metadata>?
        try unsafe check(
            rd_kafka_metadata(raw, 0, nil, &metadata, timeout.wholeMilliseconds), "cluster metadata request")
        unsafe rd_kafka_metadata_destroy(metadata)
    }

    /// Partition counts of all topics of the cluster, by name.
    func topics(within timeout: Duration) throws -> [String: Int] {
        var metadata: UnsafePointer<rd_kafka_metadata>?
        try unsafe check(rd_kafka_metadata(raw, 1, nil, &metadata, timeout.wholeMilliseconds), "topic list request")
        defer { unsafe rd_kafka_metadata_destroy(metadata) }
        guard let metadata = unsafe metadata else { return [:] }
        var counts: [String: Int] = [:]
        for index in 0..<Int(unsafe metadata.pointee.topic_cnt) {
            let topic = unsafe metadata.pointee.topics[index]
            guard unsafe topic.err == RD_KAFKA_RESP_ERR_NO_ERROR else { continue }
            unsafe counts[String(cString: topic.topic)] = Int(topic.partition_cnt)
        }
        return counts
    }

    func check(_ result: rd_kafka_resp_err_t, _ operation: @autoclosure () -> String) throws {
        guard result != RD_KAFKA_RESP_ERR_NO_ERROR else { return }
        throw error(result, operation())
    }

    func error(_ result: rd_kafka_resp_err_t, _ operation: String) -> KafkaError {
        KafkaError(
            code: KafkaError.Code(rawValue: result.rawValue),
            reason: "\(operation): \(unsafe String(cString: rd_kafka_err2str(result)))",
            isFatal: result == RD_KAFKA_RESP_ERR__FATAL)
    }

    /// Takes over librdkafka's error object and frees it.
    func check(_ error: OpaquePointer?, _ operation: @autoclosure () -> String) throws {
        guard let error = unsafe error else { return }
        defer { unsafe rd_kafka_error_destroy(error) }
        throw unsafe KafkaError(
            code: KafkaError.Code(rawValue: rd_kafka_error_code(error).rawValue),
            reason: "\(operation()): \(String(cString: rd_kafka_error_string(error)))",
            isFatal: rd_kafka_error_is_fatal(error) != 0)
    }

    /// The error that made this client unusable, if there was one.
    func fatalError() -> String? {
        var message = [CChar](repeating: 0, count: 512)
        guard unsafe rd_kafka_fatal_error(raw, &message, message.count) != RD_KAFKA_RESP_ERR_NO_ERROR else {
            return nil
        }
        return Self.text(message)
    }

    /// The text of a log or error event; `nil` for a log line that only comments on the configuration.
    func message(of event: OpaquePointer) -> String? {
        guard unsafe rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG else {
            return unsafe String(cString: rd_kafka_event_error_string(event))
        }
        var facility: UnsafePointer<CChar>?
        var message: UnsafePointer<CChar>?
        var level: Int32 = 0
        guard unsafe rd_kafka_event_log(event, &facility, &message, &level) == 0, let facility = unsafe facility,
            let message = unsafe message
        else { return nil }
        let name = unsafe String(cString: facility)
        return name == "CONFWARN" ? nil : "\(name): \(unsafe String(cString: message))"
    }

    private static func text(_ buffer: [CChar]) -> String {
        String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
