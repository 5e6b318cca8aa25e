import Contracts
import Kafka
import Runtime

/// Puts status records on their topic, in the order given, and returns once the broker has acknowledged them all.
struct StatusPublisher: Sendable {
    /// Returns once the broker has acknowledged all of them.
    let send: @Sendable ([ProducerRecord]) async throws -> Void
    var encoding: Counter?

    /// Encodes aside from the caller's actor, which commits the next batch meanwhile.
    ///
    /// A cancelled caller waits no longer, though the records may still reach the topic: a partition without a leader
    /// takes none for as long as that lasts.
    @concurrent
    func publish(_ records: [DeliveryStatusRecord]) async throws {
        guard !records.isEmpty else { return }
        let encoded = try ThreadClock.charge(encoding) { try records.map { try ProducerRecord($0) } }
        let (acknowledged, acknowledgement) = AsyncThrowingStream.makeStream(of: Void.self)
        Task {
            do {
                try await send(encoded)
                acknowledgement.finish()
            } catch {
                acknowledgement.finish(throwing: error)
            }
        }
        // Ends early where the caller is cancelled.
        for try await _ in acknowledged {}
        try Task.checkCancellation()
    }
}
