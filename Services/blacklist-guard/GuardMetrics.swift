import Delivery
import Runtime

/// What the guard counts.
struct GuardMetrics: Sendable {
    let registry: Metrics
    let screened: Counter
    let screenSeconds: Histogram
    let changes: Counter
    let freshnessAge: Gauge
    let unreportedChunks: Gauge
    let unreportedEntries: Gauge

    init(_ registry: Metrics) {
        self.registry = registry
        screened = registry.counter(
            "rollcall_guard_screened_recipients_total", help: "Recipients of chunks screened for the first time.")
        screenSeconds = registry.histogram(
            "rollcall_guard_screen_seconds", help: "Time to screen and commit one chunk.")
        changes = registry.counter(
            "rollcall_guard_blacklist_changes_total",
            help: "Blacklist entries created, renewed, reset or added by hand.")
        freshnessAge = registry.gauge(
            "rollcall_guard_freshness_age_seconds",
            help: "Age of the oldest partition's proof that everything has been learned, by the database clock.")
        unreportedChunks = registry.gauge(
            "rollcall_guard_unreported", help: "Committed rows not yet known to be published.",
            labels: ["what": "chunks"])
        unreportedEntries = registry.gauge(
            "rollcall_guard_unreported", help: "Committed rows not yet known to be published.",
            labels: ["what": "blacklist"])
    }

    func decided(_ fact: DeliveryFact, _ count: Int) {
        registry.counter(
            "rollcall_guard_decisions_total", help: "Recipients left out, by fact.", labels: ["fact": fact.name]
        ).increment(by: count)
    }

    func learned(_ fact: DeliveryFact) {
        registry.counter(
            "rollcall_guard_lessons_total", help: "Events read that may blacklist or opt out, by fact.",
            labels: ["fact": fact.name]
        ).increment()
    }

    func refused(_ loop: String) {
        registry.counter(
            "rollcall_guard_refused_records_total", help: "Records that cannot be read or carried out, by loop.",
            labels: ["loop": loop]
        ).increment()
    }
}
