internal import Glibc

/// The end of a process.
public enum ProcessEnd {
    /// Ends the process with everything written out, and without C's exit handlers.
    ///
    /// OpenSSL's handler frees what other threads still use: a thread that closes a database connection, or that ends
    /// itself, in that moment would bring the process down with SIGSEGV, and its exit code would be lost.
    public static func now(_ code: Int32) -> Never {
        LogSink.standardError.flush()
        fflush(nil)
        _exit(code)
    }
}
