import Runtime
import Synchronization

/// How many reports of a past time are worked out at once. Each is a pass over a blast's records, and the connections
/// they would hold are those that the newest numbers are read with.
final class PastSlots: Sendable {
    private let limit: Int
    private let inUse = Mutex(0)

    init(limit: Int) { self.limit = limit }

    /// - Parameter isPast: false takes no slot.
    /// - Throws: `Problem` 503 when as many are being worked out as may be.
    func withSlot<R: Sendable>(if isPast: Bool, _ body: () async throws -> R) async throws -> R {
        guard isPast else { return try await body() }
        let isFree = inUse.withLock { inUse in
            guard inUse < limit else { return false }
            inUse += 1
            return true
        }
        guard isFree else { throw ReportProblems.pastBusy(limit: limit) }
        defer { inUse.withLock { $0 -= 1 } }
        return try await body()
    }
}
