internal import CRdkafka
public import Kafka

/// librdkafka's broker for tests, in this process. It answers with whatever error a test asks for and takes leaders
/// away, neither of which the local broker can be made to do.
@safe
public final class MockCluster {
    public enum Request: Int16, Sendable {
        case produce = 0
        case fetch = 1
        case listOffsets = 2
    }

    private let client: OpaquePointer
    private let cluster: OpaquePointer
    public let bootstrap: String

    public init() throws {
        let quiet = unsafe rd_kafka_conf_new()
        unsafe rd_kafka_conf_set(quiet, "log_level", "3", nil, 0)
        guard let client = unsafe rd_kafka_new(RD_KAFKA_PRODUCER, quiet, nil, 0) else {
            unsafe rd_kafka_conf_destroy(quiet)
            throw TestKitError("librdkafka makes no client")
        }
        guard let cluster = unsafe rd_kafka_mock_cluster_new(client, 1) else {
            unsafe rd_kafka_destroy(client)
            throw TestKitError("librdkafka makes no broker")
        }
        unsafe self.client = client
        unsafe self.cluster = cluster
        unsafe bootstrap = String(cString: rd_kafka_mock_cluster_bootstraps(cluster))
    }

    deinit {
        unsafe rd_kafka_mock_cluster_destroy(cluster)
        unsafe rd_kafka_destroy(client)
    }

    public var configuration: KafkaConfiguration {
        KafkaConfiguration(bootstrapServers: bootstrap, clientID: "tests")
    }

    public func create(_ topic: String, partitions: Int) throws {
        try check(unsafe rd_kafka_mock_topic_create(cluster, topic, Int32(partitions), 1))
    }

    /// Its requests have no one to go to until it has a leader again.
    public func setLeader(of partition: TopicPartition, isThere: Bool) throws {
        try check(
            unsafe rd_kafka_mock_partition_set_leader(
                cluster, partition.topic, partition.partition, isThere ? 1 : -1))
    }

    /// The answers to the next requests of this kind.
    public func answer(_ request: Request, with errors: [KafkaError.Code]) {
        let codes = errors.map { rd_kafka_resp_err_t(rawValue: $0.rawValue) }
        unsafe rd_kafka_mock_push_request_errors_array(cluster, request.rawValue, codes.count, codes)
    }

    /// Takes back the answers that no request has had yet.
    public func answerAsUsual(_ request: Request) {
        unsafe rd_kafka_mock_clear_request_errors(cluster, request.rawValue)
    }

    private func check(_ result: rd_kafka_resp_err_t) throws {
        guard result != RD_KAFKA_RESP_ERR_NO_ERROR else { return }
        throw TestKitError(unsafe String(cString: rd_kafka_err2str(result)))
    }
}
