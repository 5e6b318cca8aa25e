internal import Synchronization

/// A registry of counters, gauges and histograms with the Prometheus text exposition format, version 0.0.4.
///
/// Asking twice for the same name and labels gives the same instrument, so hot paths keep the instrument and do not look
/// it up. A name has one kind and one help text for ever; breaking that is a programming error and traps. A name has at
/// most 1,000 label sets; further ones share one series whose label values are `other`, so that a label taken from
/// outside cannot fill the memory.
public final class Metrics: Sendable {
    /// The process's own registry, the one `/metrics` shows.
    public static let shared = Metrics()

    static let maximumSeries = 1_000

    struct Family: Sendable {
        let kind: MetricKind
        let help: String
        var series: [String: any MetricSeries] = [:]
    }

    private let families = Mutex<[String: Family]>([:])

    public init() {}

    /// A count that only grows. By convention its name ends in `_total`.
    public func counter(_ name: String, help: String, labels: [String: String] = [:]) -> Counter {
        series(name, .counter, help, labels) { Counter(labels: $0) }
    }

    /// A value that goes up and down.
    public func gauge(_ name: String, help: String, labels: [String: String] = [:]) -> Gauge {
        series(name, .gauge, help, labels) { Gauge(labels: $0, read: nil) }
    }

    /// A gauge whose value is read when it is scraped. `read` must be quick and must not block; the first one registered
    /// for a name and label set stays.
    public func gauge(
        _ name: String, help: String, labels: [String: String] = [:], read: @escaping @Sendable () -> Double
    ) {
        let _: Gauge = series(name, .gauge, help, labels) { Gauge(labels: $0, read: read) }
    }

    /// A counter that somebody else keeps, read when it is scraped.
    public func counter(
        _ name: String, help: String, labels: [String: String] = [:], read: @escaping @Sendable () -> Double
    ) {
        let _: Gauge = series(name, .counter, help, labels) { Gauge(labels: $0, read: read) }
    }

    /// Observations counted into buckets by upper bound.
    public func histogram(
        _ name: String, help: String, buckets: [Double] = Histogram.seconds, labels: [String: String] = [:]
    ) -> Histogram {
        series(name, .histogram, help, labels) { Histogram(labels: $0, bounds: buckets) }
    }

    private func series<Series: MetricSeries>(
        _ name: String, _ kind: MetricKind, _ help: String, _ labels: [String: String],
        make: (String) -> Series
    ) -> Series {
        families.withLock { families in
            if families[name] == nil {
                precondition(Exposition.isMetricName(name), "\(name) is not a Prometheus metric name")
                families[name] = Family(kind: kind, help: help)
            }
            precondition(labels.keys.allSatisfy(Exposition.isLabelName), "\(name) has a bad label name")
            var text = Exposition.labels(labels)
            let count = families[name]?.series.count ?? 0
            if count >= Self.maximumSeries, families[name]?.series[text] == nil {
                text = Exposition.labels(labels.mapValues { _ in "other" })
            }
            if let known = families[name]?.series[text] {
                guard let series = known as? Series else {
                    preconditionFailure("\(name) is already a metric of another kind")
                }
                return series
            }
            precondition(families[name]?.kind == kind, "\(name) is already a metric of another kind")
            let series = make(text)
            families[name]?.series[text] = series
            return series
        }
    }

    /// Everything as Prometheus reads it, names in order.
    public func exposition() -> String {
        let snapshot = families.withLock { $0 }
        var text = ""
        for (name, family) in snapshot.sorted(by: { $0.key < $1.key }) {
            text += "# HELP \(name) \(Exposition.escaped(help: family.help))\n# TYPE \(name) \(family.kind.rawValue)\n"
            for (_, series) in family.series.sorted(by: { $0.key < $1.key }) {
                series.append(to: &text, name: name)
            }
        }
        return text
    }
}

enum MetricKind: String, Sendable {
    case counter, gauge, histogram
}

protocol MetricSeries: Sendable {
    func append(to text: inout String, name: String)
}
