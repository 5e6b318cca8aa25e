import Logging
import Runtime

/// Says in the log and in metrics how far a rebuild is.
final class RebuildProgress {
    private let logger: Logger
    private let metrics: Metrics
    private var untilOffsets: [Int32: Int64] = [:]
    private var nextOffsets: [Int32: Int64] = [:]
    private var projected = 0
    private let began = ContinuousClock.now
    private var said = ContinuousClock.now
    private var hasEnded = false

    init(_ context: ProgramContext) {
        logger = context.logger
        metrics = context.metrics
    }

    func begin(_ part: Int32, at nextOffset: Int64, until untilOffset: Int64) {
        untilOffsets[part] = untilOffset
        set(part, nextOffset)
        metrics.gauge(
            "rollcall_projector_rebuild_until_offset", help: "Where the rebuild of a partition ends.",
            labels: ["partition": String(part)]
        ).set(Int(untilOffset))
    }

    func advance(_ part: Int32, to nextOffset: Int64) {
        projected += Int(nextOffset - (nextOffsets[part] ?? nextOffset))
        set(part, nextOffset)
    }

    /// Every few seconds, and once when this process has nothing left to do.
    func say() {
        let remaining = untilOffsets.reduce(0) { $0 + max(0, $1.value - (nextOffsets[$1.key] ?? 0)) }
        let hasEndedNow = remaining == 0 && !untilOffsets.isEmpty && !hasEnded
        guard hasEndedNow || remaining > 0 && ContinuousClock.now - said > .seconds(5) else { return }
        said = .now
        hasEnded = hasEndedNow
        let rate = Double(projected) / max(0.001, (said - began) / .seconds(1))
        logger.info(
            hasEndedNow ? "rebuilt up to the cut" : "rebuilding",
            metadata: [
                "records": "\(projected)", "remaining": "\(remaining)", "records_per_s": "\(Int(rate))",
                "eta_s": "\(rate > 0 ? Int(Double(remaining) / rate) : -1)",
                "kafka.partitions": "\(untilOffsets.keys.sorted())",
            ])
    }

    private func set(_ part: Int32, _ nextOffset: Int64) {
        nextOffsets[part] = nextOffset
        metrics.gauge(
            "rollcall_projector_rebuild_next_offset", help: "The next offset that the rebuild of a partition projects.",
            labels: ["partition": String(part)]
        ).set(Int(nextOffset))
    }
}
