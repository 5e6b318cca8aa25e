internal import Contracts
internal import Foundation

/// The time of day, for what is stored and shown. Measure elapsed time with `ContinuousClock` instead.
public enum WallClock {
    /// Microseconds since the Unix epoch, the unit of every time stored or published.
    public static func nowMicroseconds() -> Int64 {
        Int64((Date().timeIntervalSince1970 * 1_000_000).rounded())
    }

    /// `2026-03-01T09:30:00.123Z`: a time of the contract, cut to the millisecond.
    public static func rfc3339(microseconds: Int64) -> String {
        Timestamp.string(microseconds: microseconds).dropLast("000Z".count) + "Z"
    }
}
