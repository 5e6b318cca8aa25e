import Contracts
import Kafka
import Runtime

/// Puts status records on their topic, in the order given, and returns once the broker has acknowledged them all.
struct StatusPublisher: Sendable {
    /// Returns once the broker has acknowledged all of them.
    let send: @Sendable ([ProducerRecord]) async throws -> Void
    var encoding: Counter?

    /// Encodes aside from the caller's actor, which commits the next batch meanwhile.
    @concurrent
    func publish(_ records: [DeliveryStatusRecord]) async throws {
        guard !records.isEmpty else { return }
        try await send(
            try ThreadClock.charge(encoding) { try records.map { try ProducerRecord($0) } })
    }
}
