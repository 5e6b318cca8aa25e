import Runtime
import Synchronization

/// What an operator sees of dispatch.
final class SenderMetrics: Sendable {
    let wireTime: Histogram
    let inDoubt: Gauge
    let chunksWaiting: Gauge
    let unreported: Gauge
    let dueRetries: Gauge
    let leaseLost: Counter
    let guardStale: Counter
    let emergencyUnscreened: Counter
    let breakerTrips: Counter
    let chunksPaced: Counter
    let blastsHeld: Gauge
    let blastsStalled: Gauge
    let operatorPause: Gauge
    let factsReported: Counter
    let malformed: Counter
    /// Where the processor time goes; connections and the database's clients have threads of their own.
    let composing: Counter
    private let settledMessages: CounterFamily<AttemptState>
    private let relayMessages: CounterFamily<RelayAnswer>
    private let registry: Metrics

    private struct RelayAnswer: Hashable {
        let relay: String
        let outcome: String
    }

    init(_ registry: Metrics) {
        self.registry = registry
        wireTime = registry.histogram(
            "rollcall_sender_wire_seconds", help: "Time from WIRE to the durable outcome of a message.",
            buckets: Histogram.seconds + [60, 300, 600])
        inDoubt = registry.gauge(
            "rollcall_sender_in_doubt", help: "Attempts whose final dot was sent and not answered.")
        chunksWaiting = registry.gauge(
            "rollcall_sender_chunks_waiting", help: "Cleared chunks that are not done.")
        unreported = registry.gauge(
            "rollcall_sender_unreported_facts", help: "Facts of attempts not yet acknowledged by the broker.")
        dueRetries = registry.gauge(
            "rollcall_sender_retries_waiting", help: "Attempts that will be repeated.")
        leaseLost = registry.counter(
            "rollcall_sender_lease_lost_total", help: "Leases of this process that ran out.")
        guardStale = registry.counter(
            "rollcall_sender_guard_stale_total",
            help: "Windows of general messages held back because the guard was not up to date.")
        emergencyUnscreened = registry.counter(
            "rollcall_sender_emergency_unscreened_chunks_total",
            help: "Chunks of emergency blasts sent without the guard's answer.")
        breakerTrips = registry.counter(
            "rollcall_sender_breaker_trips_total", help: "Times that a blast had too many bad addresses.")
        chunksPaced = registry.counter(
            "rollcall_sender_chunks_paced_total",
            help: "Chunks put off because their receiving domains or all senders had no room.")
        blastsHeld = registry.gauge(
            "rollcall_sender_blasts_held", help: "Blasts that the breaker stopped and nobody has resumed.")
        blastsStalled = registry.gauge(
            "rollcall_sender_blasts_stalled", help: "Blasts that could be sent and of which nothing was handed over.")
        operatorPause = registry.gauge(
            "rollcall_sender_operator_pause", help: "1 while operators stop all sending.")
        factsReported = registry.counter(
            "rollcall_sender_facts_reported_total", help: "Delivery events acknowledged by the broker.")
        composing = registry.counter(
            "rollcall_sender_cpu_microseconds_total", help: "Processor time by stage of the work.",
            labels: ["stage": "compose"])
        malformed = registry.counter(
            "rollcall_sender_malformed_records_total", help: "Records that break their contract and were passed over.")
        settledMessages = CounterFamily { state in
            registry.counter(
                "rollcall_sender_messages_total", help: "Attempts by how they ended.",
                labels: ["outcome": state.rawValue])
        }
        relayMessages = CounterFamily { answer in
            registry.counter(
                "rollcall_sender_relay_messages_total",
                help: "Messages offered to an SMTP relay by what it did with them; trouble is the relay's own.",
                labels: ["relay": answer.relay, "outcome": answer.outcome])
        }
    }

    func settled(_ state: AttemptState) {
        settledMessages[state].increment()
    }

    /// What one relay did with one message.
    func answered(relay: String, _ outcome: String) {
        relayMessages[RelayAnswer(relay: relay, outcome: outcome)].increment()
    }

    func watch(
        relay: String, connections: @escaping @Sendable () -> Int, onTheWire: @escaping @Sendable () -> Int,
        isUsable: @escaping @Sendable () -> Bool
    ) {
        let labels = ["relay": relay]
        registry.gauge("rollcall_sender_relay_connections", help: "Open connections to an SMTP relay.", labels: labels)
        {
            Double(connections())
        }
        registry.gauge("rollcall_sender_relay_on_the_wire", help: "Messages an SMTP relay has now.", labels: labels) {
            Double(onTheWire())
        }
        registry.gauge(
            "rollcall_sender_relay_usable", help: "1 when an SMTP relay works, 0 while it is left alone.",
            labels: labels
        ) { isUsable() ? 1 : 0 }
    }

    /// Reads gauges that others keep.
    func watch(slots: HandOverSlots, connections: @escaping @Sendable () -> Int) {
        registry.gauge("rollcall_sender_open_connections", help: "Open SMTP connections.") { Double(connections()) }
        registry.gauge("rollcall_sender_on_the_wire", help: "Messages between WIRE and their durable outcome.") {
            Double(slots.inUse)
        }
        registry.gauge("rollcall_sender_lanes_waiting", help: "Lanes with messages for which no connection is free.") {
            Double(slots.waiting)
        }
    }
}

/// Counters of one name, kept here so that a message costs no look-up by the text of their labels.
private final class CounterFamily<Key: Hashable & Sendable>: Sendable {
    private let known = Mutex<[Key: Counter]>([:])
    private let make: @Sendable (Key) -> Counter

    init(_ make: @escaping @Sendable (Key) -> Counter) {
        self.make = make
    }

    subscript(key: Key) -> Counter {
        known.withLock { known in
            if let counter = known[key] { return counter }
            let counter = make(key)
            known[key] = counter
            return counter
        }
    }
}
