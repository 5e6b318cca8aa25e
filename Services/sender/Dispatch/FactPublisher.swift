import Contracts
import Delivery
import Kafka
import Postgres
import Runtime

/// Publishes the facts of attempts from their rows until the broker has them: those that no `OutcomeReporter` took on.
///
/// A row is held while its events are under way, so that senders side by side share the work; a broker that does not
/// answer within the producer's limit ends the hold and the row is published again later.
struct FactPublisher: Sendable {
    static let batchMax = 500

    private static let unreported = """
        SELECT a.blast_id, a.recipient_no, a.attempt_no, a.district_id, a.state, a.fact, a.reply, a.wire_at,
               a.settled_at
          FROM attempt a
         WHERE a.fact IS NOT NULL AND a.reported_at IS NULL
         LIMIT $1
           FOR UPDATE OF a SKIP LOCKED
        """
    private static let reported = """
        UPDATE attempt a SET reported_at = clock_timestamp()
          FROM unnest($1::uuid[], $2::int[], $3::int[]) AS r(blast_id, recipient_no, attempt_no)
         WHERE a.blast_id = r.blast_id AND a.recipient_no = r.recipient_no AND a.attempt_no = r.attempt_no
        """

    let database: PostgresPool
    let producer: KafkaProducer
    let metrics: SenderMetrics
    let reporter: OutcomeReporter

    /// Publishes one batch; returns true when there may be more.
    func publish() async throws -> Bool {
        let count = try await database.withTransaction { connection in
            let rows = try await connection.query(Self.unreported, [.int(Int64(Self.batchMax))])
            let facts = try rows.map { try AttemptFact($0) }
            guard !facts.isEmpty else { return 0 }
            let began = ContinuousClock.now
            try await producer.send(try facts.flatMap(\.events).map { try ProducerRecord($0) })
            if began.duration(to: .now) < OutcomeReporter.slowness { await reporter.brokerIsFast() }
            FaultPoint.reach("sender.after-publish")
            _ = try await connection.query(
                Self.reported,
                [
                    .uuidArray(facts.map(\.delivery.blast)),
                    .int4Array(facts.map(\.delivery.recipientNumber)), .int4Array(facts.map(\.attempt)),
                ])
            return facts.count
        }
        metrics.factsReported.increment(by: count)
        return count == Self.batchMax
    }

    /// What is left when the process stops, within a bound.
    func flush(within bound: Duration) async {
        let deadline = ContinuousClock.now + bound
        while ContinuousClock.now < deadline, (try? await publish()) == true {}
    }
}

/// The fact of one attempt row, and the events that state it.
struct AttemptFact: Sendable, Equatable {
    let delivery: DeliveryID
    let attempt: Int32
    let district: DistrictID
    let state: AttemptState
    let fact: DeliveryFact
    let reply: String
    let wireAtMicroseconds: Int64
    let settledAtMicroseconds: Int64

    /// An attempt that used up the retry schedule was refused for now as well, so it states both. A row that was stopped
    /// at the last check is no attempt, nor is a timeout.
    var events: [DeliveryEvent] {
        let facts = fact == .expired && state == .deferred ? [.deferred, .expired] : [fact]
        return facts.map { fact in
            DeliveryEvent(
                id: "sender/\(delivery)/\(attempt)/\(fact.rawValue)", source: "/rollcall/sender", delivery: delivery,
                district: district, fact: fact, occurredAtMicroseconds: settledAtMicroseconds,
                attempt: state == .stopped || state == .timedOut
                    ? nil : DeliveryEvent.Attempt(number: attempt, atMicroseconds: wireAtMicroseconds),
                evidence: reply)
        }
    }
}

extension AttemptFact {
    /// The fact that the row of an outcome states once it is committed; nil when there is no news.
    init?(_ settlement: Settlement, of wired: WiredMessage, settledAtMicroseconds: Int64) {
        guard let fact = settlement.fact else { return nil }
        self.init(
            delivery: settlement.delivery, attempt: settlement.attempt, district: wired.district,
            state: settlement.state, fact: fact, reply: settlement.reply,
            wireAtMicroseconds: wired.wireAtMicroseconds, settledAtMicroseconds: settledAtMicroseconds)
    }

    fileprivate init(_ row: PostgresRow) throws {
        guard let state = AttemptState(rawValue: try row.string("state")),
            let fact = DeliveryFact(rawValue: UInt8(truncatingIfNeeded: try row.int("fact")))
        else { throw PostgresError(.decoding, message: "an attempt has an unknown state or fact") }
        let wireAt = try row.timestampMicroseconds("wire_at")
        self.init(
            delivery: DeliveryID(
                blast: try row.blastID("blast_id"), recipientNumber: try row.int32("recipient_no")),
            attempt: try row.int32("attempt_no"), district: DistrictID(try row.int("district_id")), state: state,
            fact: fact, reply: try row.optionalString("reply") ?? "", wireAtMicroseconds: wireAt,
            settledAtMicroseconds: try row.optionalTimestampMicroseconds("settled_at") ?? wireAt)
    }
}
