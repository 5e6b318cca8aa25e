import Delivery
import Runtime

/// What the ingester measures. Labels are bounded: event types, outcomes, kinds and facts.
struct IngesterMetrics: Sendable {
    enum Outcome: String, CaseIterable {
        /// Acknowledged by the broker and answered.
        case accepted
        /// Unusable: on the dead letter topic.
        case parked
        /// Not acknowledged; the provider was told to come again.
        case unacknowledged
    }

    let produceSeconds: Histogram
    let hitsStored: Counter
    let hitsLost: Counter
    private let metrics: Metrics
    private let hits: [Hit.Kind: Counter]
    private let judged: [DeliveryFact: Counter]

    init(_ metrics: Metrics) {
        self.metrics = metrics
        produceSeconds = metrics.histogram(
            "rollcall_ingester_produce_seconds", help: "Time until the broker acknowledged a request's events.",
            buckets: Histogram.seconds)
        hitsStored = metrics.counter(
            "rollcall_tracking_hits_stored_total", help: "Opens and clicks written to the database.")
        hitsLost = metrics.counter(
            "rollcall_tracking_hits_lost_total",
            help: "Opens and clicks answered but not kept: buffer full, refused, or still unwritten at the end.")
        hits = Dictionary(
            uniqueKeysWithValues: Hit.Kind.allCases.map { kind in
                (
                    kind,
                    metrics.counter(
                        "rollcall_tracking_hits_total", help: "Opens and clicks seen, by people and machines.",
                        labels: ["kind": kind.rawValue])
                )
            })
        judged = Dictionary(
            uniqueKeysWithValues: [DeliveryFact.opened, .clicked, .machineOpen, .machineClick].map { fact in
                (
                    fact,
                    metrics.counter(
                        "rollcall_tracking_judged_total",
                        help: "Opens and clicks judged, by what they were judged to be.",
                        labels: ["fact": fact.name])
                )
            })
    }

    func count(_ type: String, _ outcome: Outcome, by amount: Int = 1) {
        metrics.counter(
            "rollcall_ingester_events_total", help: "Events of providers and readers' answers, by outcome.",
            labels: ["type": type, "outcome": outcome.rawValue]
        ).increment(by: amount)
    }

    func countHit(_ kind: Hit.Kind) { hits[kind]?.increment() }
    func countJudged(_ fact: DeliveryFact) { judged[fact]?.increment() }
}
