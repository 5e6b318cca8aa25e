import Logging
import Runtime
import Synchronization

/// Logs once when something stops answering and once when it answers again.
final class OutageLog: Sendable {
    private let what: String
    private let logger: Logger
    private let isOut = Mutex(false)

    init(_ what: String, logger: Logger) {
        self.what = what
        self.logger = logger
    }

    func failed(_ error: any Error) {
        let isNew = isOut.withLock { isOut in
            defer { isOut = true }
            return !isOut
        }
        logger.log(level: isNew ? .warning : .debug, "\(what) does not work", metadata: ["cause": "\(error)"])
    }

    /// Passes on what `body` returns or throws.
    func watch<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            let value = try await body()
            worked()
            return value
        } catch {
            failed(error)
            throw error
        }
    }

    func worked() {
        let isNew = isOut.withLock { isOut in
            defer { isOut = false }
            return isOut
        }
        if isNew { logger.notice("\(what) works again") }
    }
}

/// Readiness until a dependency was reached once.
///
/// Afterwards an outage does not make the process unready: pixels, links and pages are answered without broker and
/// database, and a load balancer that took every ingester away would end that as well.
final class FirstContact: Sendable {
    struct Missing: Error, CustomStringConvertible {
        let topic: String
        var description: String { "topic \(topic) does not exist; run `rollcall topics apply`" }
    }

    private let isMade = Atomic(false)

    static func require(
        _ name: String, _ readiness: Readiness, attempt: @escaping @Sendable () async throws -> Void
    ) {
        let contact = FirstContact()
        readiness.add(name) {
            guard !contact.isMade.load(ordering: .relaxed) else { return }
            try await attempt()
            contact.isMade.store(true, ordering: .relaxed)
        }
    }
}

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
