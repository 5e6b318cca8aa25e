internal import Synchronization

/// A count that only grows. Cheap: one atomic addition.
public final class Counter: MetricSeries {
    private let labels: String
    private let count = Atomic<Int>(0)

    init(labels: String) {
        self.labels = labels
    }

    public func increment(by amount: Int = 1) {
        precondition(amount >= 0, "a counter never goes back")
        count.wrappingAdd(amount, ordering: .relaxed)
    }

    public var value: Int { count.load(ordering: .relaxed) }

    func append(to text: inout String, name: String) {
        text += "\(name)\(labels) \(value)\n"
    }
}

/// A value that goes up and down.
public final class Gauge: MetricSeries {
    private let labels: String
    private let read: (@Sendable () -> Double)?
    private let bits = Atomic<UInt64>(0)

    init(labels: String, read: (@Sendable () -> Double)?) {
        self.labels = labels
        self.read = read
    }

    public func set(_ value: Double) {
        bits.store(value.bitPattern, ordering: .relaxed)
    }

    public func set(_ value: Int) {
        set(Double(value))
    }

    /// Adds, also a negative amount, without losing concurrent additions.
    public func add(_ amount: Double) {
        var known = bits.load(ordering: .relaxed)
        while true {
            let sum = (Double(bitPattern: known) + amount).bitPattern
            let (exchanged, original) = bits.compareExchange(expected: known, desired: sum, ordering: .relaxed)
            if exchanged { return }
            known = original
        }
    }

    public var value: Double { read?() ?? Double(bitPattern: bits.load(ordering: .relaxed)) }

    func append(to text: inout String, name: String) {
        text += "\(name)\(labels) \(Exposition.number(value))\n"
    }
}

/// Observations counted into buckets by upper bound, with their sum.
public final class Histogram: MetricSeries {
    /// Bounds that suit request and batch times in seconds.
    public static let seconds: [Double] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
    /// Bounds that suit numbers of records.
    public static let counts: [Double] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000]

    private struct State {
        var counts: [Int]
        var sum = 0.0
    }

    private let labels: String
    private let bounds: [Double]
    private let state: Mutex<State>

    init(labels: String, bounds: [Double]) {
        precondition(!bounds.isEmpty && zip(bounds, bounds.dropFirst()).allSatisfy(<), "bucket bounds must grow")
        self.labels = labels
        self.bounds = bounds
        state = Mutex(State(counts: Array(repeating: 0, count: bounds.count + 1)))
    }

    public func observe(_ value: Double) {
        let bucket = bounds.firstIndex { value <= $0 } ?? bounds.count
        state.withLock { state in
            state.counts[bucket] += 1
            state.sum += value
        }
    }

    /// Observes a duration in seconds.
    public func observe(_ duration: Duration) {
        observe(duration / .seconds(1))
    }

    public var count: Int { state.withLock { $0.counts.reduce(0, +) } }

    func append(to text: inout String, name: String) {
        let (counts, sum) = state.withLock { ($0.counts, $0.sum) }
        var total = 0
        for (position, count) in counts.enumerated() {
            total += count
            let bound = position < bounds.count ? Exposition.number(bounds[position]) : "+Inf"
            text += "\(name)_bucket\(Exposition.adding("le", bound, to: labels)) \(total)\n"
        }
        text += "\(name)_sum\(labels) \(Exposition.number(sum))\n\(name)_count\(labels) \(total)\n"
    }
}
