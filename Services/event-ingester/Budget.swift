import Synchronization

/// A bound on what is held at once over all requests.
final class Budget: Sendable {
    private let limit: Int
    private let used = Mutex(0)

    init(_ limit: Int) { self.limit = limit }

    /// False when it would exceed the limit; nothing is taken then.
    func take(_ amount: Int) -> Bool {
        used.withLock { used in
            guard amount <= limit - used else { return false }
            used += amount
            return true
        }
    }

    func giveBack(_ amount: Int) { used.withLock { $0 -= amount } }
}
