import HTTPTypes
import Runtime
import Synchronization

/// How many lists of each district are being taken in: one district's uploads must not use up the connections of all.
final class UploadSlots: Sendable {
    private let limit: Int
    private let inUse = Mutex<[Int64: Int]>([:])

    init(perDistrict limit: Int) { self.limit = limit }

    /// - Throws: `Problem` 429 when the district has as many uploads under way as it may.
    func withSlot<R: Sendable>(of district: Int64, _ body: () async throws -> R) async throws -> R {
        let isFree = inUse.withLock { inUse in
            guard inUse[district, default: 0] < limit else { return false }
            inUse[district, default: 0] += 1
            return true
        }
        guard isFree else {
            throw Problem(
                "too-many-uploads", title: "Too many uploads at once", status: .tooManyRequests,
                detail: "\(limit) lists of this district are being uploaded now. Wait for one to end.",
                headers: [.retryAfter: "10"])
        }
        defer {
            inUse.withLock { inUse in
                let left = inUse[district, default: 1] - 1
                inUse[district] = left > 0 ? left : nil
            }
        }
        return try await body()
    }
}
