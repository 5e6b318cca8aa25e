/// An idempotent producer for many concurrent callers.
///
/// Their records go out in common batches, from one thread. Within the life of one librdkafka client, records of one
/// partition are stored once and in the order of the calls. When librdkafka fails fatally, or when the cluster comes
/// back under another id, the client inside is replaced and every call in flight throws a retriable ``KafkaError``:
/// callers publish from rows they keep, and publish again, and readers drop duplicates by event id.
///
/// End with ``close(timeout:)``.
public final class KafkaProducer: Sendable {
    private static let recordsMax = 1 << PendingRecords.Reference.indexBits

    private let inbox = ProducerInbox()
    private let running: Task<Void, Never>

    /// Creates the client; does not wait for a broker.
    ///
    /// - Parameter messageTimeout: how long an unacknowledged record may take before its ``send(_:)`` throws. `nil`
    ///   never gives up, and also waits for a missing topic to appear: right for publishers that would only try again.
    ///   A caller that has to answer somebody needs a limit; the record may still be stored after it.
    public init(_ configuration: KafkaConfiguration, messageTimeout: Duration?) throws {
        let loop = try ProducerLoop(
            configuration.producerProperties(messageTimeout: messageTimeout), waitsForTopics: messageTimeout == nil,
            inbox: inbox)
        running = Task { await loop.run() }
    }

    deinit {
        inbox.requestClose(by: .now)
    }

    /// Publishes the records and returns when the broker has acknowledged every one of them.
    ///
    /// Throws a ``KafkaError`` when any of them was refused or timed out; any subset of the records may then be on the
    /// topic. Cancelling the task does not cut the wait short, since the records are on their way: close the producer
    /// for that.
    public func send(_ records: [ProducerRecord]) async throws {
        guard !records.isEmpty else { return }
        precondition(records.count <= Self.recordsMax, "at most \(Self.recordsMax) records in one call")
        try await withCheckedThrowingContinuation { continuation in
            inbox.submit(ProducerInbox.Submission(records: records, continuation: continuation))
        }
    }

    /// The cluster's id, asked of a broker now: another one than before means another cluster, or one that was
    /// started anew without its data. Records wait while the broker is asked.
    public func clusterID(timeout: Duration) async throws -> String? {
        try await withCheckedThrowingContinuation { continuation in
            inbox.submit(ProducerInbox.ClusterIDRequest(timeout: timeout, continuation: continuation))
        }
    }

    /// The last thing librdkafka complained about, for logs and readiness pages.
    public var lastError: String? { inbox.lastError }

    /// Takes no more records, waits up to `timeout` for those under way, gives up on the rest, whose ``send(_:)``
    /// throws, and ends the thread. Returns at most about three seconds after the timeout.
    public func close(timeout: Duration) async {
        inbox.requestClose(by: .now + timeout)
        await inbox.waitUntilFinished()
    }
}
