import Contracts
import Delivery
import Kafka
import Postgres
import Runtime

/// Publishes the facts of outcomes from memory once they are committed, so that their rows need not be read, locked and
/// written again for it.
///
/// The commit counts the rows as reported and leaves one row of `attempt_report` that answers for all of them. It goes
/// when the broker has the facts. One that stays, because the broker or this process failed, is taken back by any sender
/// (`takeBack`): its attempts are unreported then, and `FactPublisher` publishes them. Nothing waits for the broker; while
/// it is slow, outcomes are written as unreported (`isOpen`).
actor OutcomeReporter {
    struct Report: Sendable {
        let number: Int64
        let facts: [AttemptFact]
    }

    /// A broker that takes longer leaves the facts to the rows, until it has taken some of those in less.
    static let slowness = Duration.seconds(1)
    private static let recordsMax = 2000
    /// How long facts wait for company: a broker spends about as much on a batch of ten as on one of a hundred.
    private static let patience = Duration.milliseconds(50)
    /// How long a report may stay before it counts as left behind; when it was not, a few facts are stated twice.
    private static let leftBehind = Duration.seconds(5)

    private static let forget = "DELETE FROM attempt_report WHERE report_id = ANY ($1)"
    private static let takeBack = """
        WITH late AS (
            DELETE FROM attempt_report
             WHERE report_id IN (SELECT r.report_id FROM attempt_report r
                                  WHERE r.written_at < clock_timestamp() - $1 * interval '1 microsecond'
                                  ORDER BY r.report_id LIMIT 20 FOR UPDATE SKIP LOCKED)
            RETURNING blast_ids, recipient_nos, attempt_nos
        )
        UPDATE attempt a SET reported_at = NULL
          FROM late l, unnest(l.blast_ids, l.recipient_nos, l.attempt_nos) AS r (blast_id, recipient_no, attempt_no)
         WHERE a.blast_id = r.blast_id AND a.recipient_no = r.recipient_no AND a.attempt_no = r.attempt_no
           AND a.fact IS NOT NULL
        """

    private let database: PostgresPool
    private let producer: KafkaProducer
    private let metrics: SenderMetrics
    private var pending: [Report] = []
    private var acknowledged: [Int64] = []
    private var sendingSince: ContinuousClock.Instant?
    private var isSlow = false

    init(database: PostgresPool, producer: KafkaProducer, metrics: SenderMetrics) {
        self.database = database
        self.producer = producer
        self.metrics = metrics
    }

    /// Whether the next outcomes may count as reported.
    var isOpen: Bool { !isSlow && (sendingSince.map { $0.duration(to: .now) < Self.slowness } ?? true) }

    /// To be called once the report's row is committed. Does not wait for the broker.
    func publish(_ report: Report) {
        pending.append(report)
        guard sendingSince == nil else { return }
        sendingSince = .now
        Task { await sendPending() }
    }

    /// The broker has taken facts from their rows within `slowness`.
    func brokerIsFast() { isSlow = false }

    private func sendPending() async {
        while !pending.isEmpty {
            try? await Task.sleep(for: Self.patience)
            let reports = takeBatch()
            let began = ContinuousClock.now
            sendingSince = began
            FaultPoint.reach("sender.before-publish")
            do {
                try await producer.send(try reports.flatMap(\.facts).flatMap(\.events).map { try ProducerRecord($0) })
            } catch {
                // Their rows stay, and are taken back.
                isSlow = true
                pending.removeAll()
                break
            }
            FaultPoint.reach("sender.after-publish")
            if began.duration(to: .now) >= Self.slowness { isSlow = true }
            acknowledged += reports.map(\.number)
            metrics.factsReported.increment(by: reports.reduce(0) { $0 + $1.facts.count })
        }
        sendingSince = nil
    }

    private func takeBatch() -> [Report] {
        var (count, facts) = (0, 0)
        while count < pending.count, count == 0 || facts + pending[count].facts.count <= Self.recordsMax {
            facts += pending[count].facts.count
            count += 1
        }
        defer { pending.removeFirst(count) }
        return Array(pending.prefix(count))
    }

    /// Removes the rows of what the broker has.
    func forgetAcknowledged() async throws {
        guard !acknowledged.isEmpty else { return }
        let numbers = acknowledged
        acknowledged = []
        do {
            _ = try await database.query(Self.forget, [.int8OptionalArray(numbers.map(Optional.init))])
        } catch {
            acknowledged += numbers
            throw error
        }
    }

    /// Makes unreported what some sender left behind.
    static func takeBack(_ database: PostgresPool, after age: Duration = leftBehind) async throws {
        _ = try await database.query(takeBack, [.int(age.wholeMicroseconds)])
    }

    /// Waits for what is under way, within a bound.
    func flush(within bound: Duration) async {
        let deadline = ContinuousClock.now + bound
        while sendingSince != nil, ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(10)) }
        try? await forgetAcknowledged()
    }
}
