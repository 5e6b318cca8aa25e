internal import Foundation
internal import Glibc

/// The process's own figures, read from /proc/self when scraped, under Prometheus' usual names.
enum ProcessMetrics {
    static func register(in metrics: Metrics, service: String, version: String) {
        let started = Double(WallClock.nowMicroseconds()) / 1_000_000
        metrics.gauge("process_start_time_seconds", help: "Start of the process since the Unix epoch.") { started }
        metrics.gauge("process_resident_memory_bytes", help: "Resident memory.") { residentBytes() }
        metrics.counter("process_cpu_seconds_total", help: "User and system CPU time.") { cpuSeconds() }
        metrics.gauge("process_open_fds", help: "Open file descriptors.") { openDescriptors() }
        metrics.gauge(
            "rollcall_build_info", help: "Always 1; the labels say what runs.",
            labels: ["service": service, "version": version]
        ) { 1 }
    }

    static func residentBytes() -> Double {
        guard let pages = fields(of: "/proc/self/statm").dropFirst().first.flatMap({ Double($0) }) else { return 0 }
        return pages * Double(sysconf(Int32(_SC_PAGESIZE)))
    }

    static func cpuSeconds() -> Double {
        // The second field is the command in parentheses and may hold spaces: count from the closing one.
        guard let text = text(of: "/proc/self/stat"), let end = text.lastIndex(of: ")") else { return 0 }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return 0 }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    static func openDescriptors() -> Double {
        let names = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")
        return Double(names?.count ?? 0)
    }

    private static func fields(of path: String) -> [Substring] {
        text(of: path)?.split(separator: " ") ?? []
    }

    private static func text(of path: String) -> String? {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
    }
}
