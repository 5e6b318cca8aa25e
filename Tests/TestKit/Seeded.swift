import Foundation

/// A seed for a run with real processes: printed, part of every failure, and chosen again with `ROLLCALL_TEST_SEED`.
public enum RunSeed {
    public static func take() -> Int {
        let named = ProcessInfo.processInfo.environment["ROLLCALL_TEST_SEED"].flatMap { Int($0) }
        let seed = named ?? Int.random(in: 1...1_000_000)
        print("ROLLCALL_TEST_SEED=\(seed)")
        return seed
    }
}

/// SplitMix64: a seed names one run, and the same seed repeats it.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64
    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
