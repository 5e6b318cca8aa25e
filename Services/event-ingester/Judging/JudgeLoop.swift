import Delivery
import Kafka
import Runtime
import ServiceLifecycle

/// Judges quiet deliveries and publishes the verdicts, again and again.
///
/// What is judged but unpublished goes first: while the broker is away nothing more is judged, and nothing is lost.
struct JudgeLoop: Service {
    private static let interval = Duration.milliseconds(500)

    let context: ProgramContext
    let store: JudgeStore
    let publisher: EventPublisher
    let metrics: IngesterMetrics

    func run() async throws {
        let stuck = context.stuckLoop("judge")
        let outage = OutageLog("judging opens and clicks", logger: context.logger)
        var backoff = Backoff(initial: .milliseconds(250), maximum: .seconds(5))
        while !Task.isShuttingDownGracefully {
            try Task.checkCancellation()
            stuck.turn()
            var wait = Self.interval
            do {
                if try await turn() { wait = .zero }
                outage.worked()
                backoff.reset()
            } catch {
                outage.failed(error)
                wait = backoff.next()
            }
            if try await pause(for: wait) { return }
        }
    }

    /// True when there may be more to do at once.
    private func turn() async throws -> Bool {
        let published = try await store.publish { events in
            try await publisher.send(events.map { try ProducerRecord($0) })
        }
        let judged = try await store.judge()
        for fact in judged.facts { metrics.countJudged(fact) }
        return published == JudgeStore.hitsMax || judged.mayBeMore || !judged.facts.isEmpty
    }
}
