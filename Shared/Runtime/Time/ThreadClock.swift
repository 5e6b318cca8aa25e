internal import CDispatch
internal import Glibc

/// Processor time of the calling thread, for measuring a stretch of work without suspensions.
public enum ThreadClock {
    /// Adds the microseconds that `body` takes of a processor to `counter`.
    public static func charge<R, Failure: Error>(
        _ counter: Counter?, _ body: () throws(Failure) -> R
    ) throws(Failure) -> R {
        guard let counter else { return try body() }
        let before = nowNanoseconds()
        defer { counter.increment(by: max(0, Int((nowNanoseconds() - before + 500) / 1000))) }
        return try body()
    }

    private static func nowNanoseconds() -> Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
