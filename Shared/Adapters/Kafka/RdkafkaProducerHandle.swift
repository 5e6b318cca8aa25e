internal import CRdkafka

/// One idempotent producer and the queue on which its delivery reports, errors and logs arrive.
@safe
struct RdkafkaProducerHandle: ~Copyable {
    enum Outcome {
        case accepted
        case queueFull
        case refused(KafkaError)
    }

    /// What one poll brought besides delivery reports.
    enum Event {
        case nothing
        case deliveryReports
        case message(String)
        case fatal(String)
    }

    private let client: RdkafkaClientHandle
    private let queue: OpaquePointer
    private let arguments: UnsafeMutablePointer<rd_kafka_vu_t>
    private static let argumentsMax = 7

    init(_ properties: ClientProperties) throws {
        let events = RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG
        client = try RdkafkaClientHandle(RD_KAFKA_PRODUCER, properties, events: events)
        unsafe queue = rd_kafka_queue_get_main(client.raw)
        unsafe arguments = .allocate(capacity: Self.argumentsMax)
        unsafe arguments.initialize(repeating: rd_kafka_vu_t(), count: Self.argumentsMax)
        _ = unsafe rd_kafka_set_log_queue(client.raw, queue)
    }

    deinit {
        unsafe arguments.deallocate()
        unsafe rd_kafka_queue_destroy(queue)
    }

    /// Lets other threads end a running ``poll(within:report:)``. Not to be used once this handle is gone.
    var waker: ProducerWaker { unsafe ProducerWaker(queue) }

    /// Hands a copy of the record to librdkafka; its delivery report will carry `reference`.
    func produce(_ record: ProducerRecord, reference: UInt) -> Outcome {
        let headers = unsafe Self.list(of: record.headers)
        let error = unsafe record.topic.withCString { topic in
            unsafe record.key.withUnsafeBytes { key in
                unsafe (record.value ?? []).withUnsafeBytes { value in
                    let count = unsafe fillArguments(
                        topic: topic, key: key, value: record.value == nil ? nil : value, headers: headers,
                        partition: record.partition, reference: reference)
                    return unsafe rd_kafka_produceva(client.raw, arguments, count)
                }
            }
        }
        guard let error = unsafe error else { return .accepted }
        if let headers = unsafe headers { unsafe rd_kafka_headers_destroy(headers) }
        do {
            try unsafe client.check(error, "produce to \(record.topic)")
            return .accepted
        } catch {
            guard let error = error as? KafkaError else { return .queueFull }
            return error.code == .queueFull ? .queueFull : .refused(error)
        }
    }

    /// Waits for one event and hands each delivery report in it to `report`: the record's reference, and the error
    /// when it was not delivered.
    func poll(within timeout: Duration, report: (UInt, KafkaError?) -> Void) -> Event {
        guard let event = unsafe rd_kafka_queue_poll(queue, timeout.wholeMilliseconds) else { return .nothing }
        defer { unsafe rd_kafka_event_destroy(event) }
        switch unsafe rd_kafka_event_type(event) {
        case RD_KAFKA_EVENT_DR:
            while let message = unsafe rd_kafka_event_message_next(event) {
                let result = unsafe message.pointee.err
                let error = result == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : client.error(result, "delivery")
                unsafe report(UInt(bitPattern: message.pointee._private), error)
            }
            return .deliveryReports
        case RD_KAFKA_EVENT_ERROR where unsafe rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__FATAL:
            return unsafe .fatal(client.fatalError() ?? client.message(of: event) ?? "unknown")
        default:
            return unsafe client.message(of: event).map { .message($0) } ?? .nothing
        }
    }

    /// Gives up on every record not yet acknowledged; their delivery reports follow.
    func purge() {
        _ = unsafe rd_kafka_purge(client.raw, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
    }

    func refreshMetadata(within timeout: Duration) throws {
        try client.refreshMetadata(within: timeout)
    }

    func knownClusterID() -> String? { client.knownClusterID() }

    func clusterID(within timeout: Duration) throws -> String? {
        try client.clusterID(within: timeout)
    }

    private func fillArguments(
        topic: UnsafePointer<CChar>, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer?,
        headers: OpaquePointer?, partition: Int32?, reference: UInt
    ) -> Int {
        var count = 0
        func add(_ type: rd_kafka_vtype_t, _ set: (inout rd_kafka_vu_t) -> Void) {
            unsafe arguments[count].vtype = type
            unsafe set(&arguments[count])
            count += 1
        }
        unsafe add(RD_KAFKA_VTYPE_TOPIC) { unsafe $0.u.cstr = topic }
        unsafe add(RD_KAFKA_VTYPE_MSGFLAGS) { unsafe $0.u.i = RD_KAFKA_MSG_F_COPY }
        unsafe add(RD_KAFKA_VTYPE_OPAQUE) { unsafe $0.u.ptr = UnsafeMutableRawPointer(bitPattern: reference) }
        unsafe add(RD_KAFKA_VTYPE_KEY) { unsafe Self.set(&$0, key) }
        if let value = unsafe value { unsafe add(RD_KAFKA_VTYPE_VALUE) { unsafe Self.set(&$0, value) } }
        if let headers = unsafe headers { unsafe add(RD_KAFKA_VTYPE_HEADERS) { unsafe $0.u.headers = headers } }
        if let partition { unsafe add(RD_KAFKA_VTYPE_PARTITION) { unsafe $0.u.i32 = partition } }
        return count
    }

    /// Empty is not absent: an empty buffer still needs an address.
    private static func set(_ argument: inout rd_kafka_vu_t, _ bytes: UnsafeRawBufferPointer) {
        let address = unsafe bytes.baseAddress ?? UnsafeRawPointer(bitPattern: 1)
        unsafe argument.u.mem.ptr = UnsafeMutableRawPointer(mutating: address)
        unsafe argument.u.mem.size = bytes.count
    }

    /// A list of our own, because librdkafka before 2.12 frees single headers twice when it refuses a record.
    private static func list(of headers: [KafkaHeader]) -> OpaquePointer? {
        guard !headers.isEmpty else { return nil }
        let list = unsafe rd_kafka_headers_new(headers.count)
        for header in headers {
            unsafe header.value.withUnsafeBytes { value in
                _ = unsafe rd_kafka_header_add(
                    list, header.name, -1, value.baseAddress ?? UnsafeRawPointer(bitPattern: 1), value.count)
            }
        }
        return unsafe list
    }
}

/// Ends a running poll from another thread. Valid as long as the producer handle it came from.
@safe
struct ProducerWaker: Sendable {
    private let address: UInt

    init(_ queue: OpaquePointer) {
        address = UInt(bitPattern: queue)
    }

    func wake() {
        unsafe rd_kafka_queue_yield(OpaquePointer(bitPattern: address))
    }
}
