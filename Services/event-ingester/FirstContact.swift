import Runtime
import Synchronization

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
