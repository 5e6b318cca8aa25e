import Kafka

/// Proves that everything in a partition has been learned.
///
/// Silence proves nothing: a broker that cannot be reached is silent too, and what was fetched ahead is old. So a
/// proof notes the time, then fetches anew; when an answer to that fetch shows the end of the partition, and
/// everything up to there is learned, everything from before the noted time is known. Without an end in sight, under
/// steady traffic, the end is read off the watermark once a record of the new fetch has come.
struct Freshness {
    private struct Proof {
        let since: Int64
        var target: Int64?
    }

    private let interval: Duration
    private var proofs: [TopicPartition: Proof] = [:]
    private var begun: ContinuousClock.Instant?
    /// The end that is reported first may have been fetched before the proof began.
    private var distrustsFirstEnd = false

    init(interval: Duration) { self.interval = interval }

    /// Unproven partitions are given five intervals before the next attempt.
    func isDue(now: ContinuousClock.Instant) -> Bool {
        guard let begun else { return true }
        return now - begun >= (proofs.isEmpty ? interval : interval * 5)
    }

    mutating func begin(
        _ partitions: some Sequence<TopicPartition>, at databaseTime: Int64, now: ContinuousClock.Instant,
        afterRecords: Bool
    ) {
        proofs = Dictionary(uniqueKeysWithValues: partitions.map { ($0, Proof(since: databaseTime)) })
        begun = now
        distrustsFirstEnd = afterRecords
    }

    mutating func forget() {
        proofs = [:]
        begun = nil
        distrustsFirstEnd = false
    }

    /// The partition ended; returns the time up to which it is known, if that is proven by this.
    mutating func ended(_ partition: TopicPartition) -> Int64? {
        defer { distrustsFirstEnd = false }
        guard !distrustsFirstEnd else { return nil }
        return proofs.removeValue(forKey: partition)?.since
    }

    /// Whether the watermark of the partition is wanted.
    mutating func wantsTarget(_ partition: TopicPartition) -> Bool {
        distrustsFirstEnd = false
        guard let proof = proofs[partition] else { return false }
        return proof.target == nil
    }

    mutating func setTarget(_ partition: TopicPartition, _ high: Int64) { proofs[partition]?.target = high }

    /// Everything below `next` is learned; returns the time up to which the partition is known, if proven by this.
    mutating func advanced(_ partition: TopicPartition, to next: Int64) -> Int64? {
        guard let target = proofs[partition]?.target, next >= target else { return nil }
        return proofs.removeValue(forKey: partition)?.since
    }
}
