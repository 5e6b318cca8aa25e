import Runtime

/// What the projector measures. Labels are bounded: outcomes and partitions.
struct ProjectorMetrics: Sendable {
    let batchSeconds: Histogram
    let published: Counter
    let ambiguousCommits: Counter
    let fenced: Counter
    let incidents: Counter
    /// Where the processor time goes; the broker's and the database's clients have threads of their own.
    let decoding: Counter
    let folding: Counter
    let encoding: Counter
    private let applied: Counter
    private let repeated: Counter
    private let late: Counter
    private let foreign: Counter
    private let unreadable: Counter

    init(_ metrics: Metrics) {
        func events(_ outcome: String) -> Counter {
            metrics.counter(
                "rollcall_projector_events_total",
                help: "Records read from the delivery events, by what became of them.",
                labels: ["outcome": outcome])
        }
        func processor(_ stage: String) -> Counter {
            metrics.counter(
                "rollcall_projector_cpu_microseconds_total", help: "Processor time by stage of the work.",
                labels: ["stage": stage])
        }
        decoding = processor("decode")
        folding = processor("fold")
        encoding = processor("encode")
        applied = events("applied")
        repeated = events("repeated")
        late = events("late")
        foreign = events("foreign")
        unreadable = events("unreadable")
        batchSeconds = metrics.histogram(
            "rollcall_projector_commit_seconds", help: "Time of one batch's transaction.", buckets: Histogram.seconds)
        published = metrics.counter(
            "rollcall_projector_published_total", help: "Status records acknowledged by the broker.")
        ambiguousCommits = metrics.counter(
            "rollcall_projector_ambiguous_commits_total", help: "Commits whose outcome had to be read back.")
        fenced = metrics.counter(
            "rollcall_projector_fenced_total", help: "Partitions lost to another owner, noticed by the fence.")
        incidents = metrics.counter(
            "rollcall_projector_history_restarts_total", help: "Restarts of the event history that were noticed.")
    }

    func count(_ batch: ReadBatch, _ fold: Fold) {
        applied.increment(by: fold.changes.count)
        repeated.increment(by: fold.repeated)
        late.increment(by: fold.late.count)
        foreign.increment(by: fold.foreign.count)
        unreadable.increment(by: batch.unreadable.count)
    }
}
