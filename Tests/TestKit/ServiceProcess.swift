public import Foundation
import Glibc
import Synchronization

/// One of our programs as a real process, with its log in a file and its admin port read from it.
public final class ServiceProcess: Sendable {
    public let name: String
    public let log: URL
    private let process: Mutex<Process>
    public let pid: Int32
    /// Where this process's part of the log begins; earlier processes of the name wrote what stands before.
    private let logStart: UInt64

    /// Starts `program` from the build folder. `admin.listen` is a free port; ask `adminPort()`.
    public convenience init(
        _ program: String, arguments: [String] = [], environment: [String: String], folder: URL, name: String? = nil
    ) throws {
        try self.init(
            executable: ProjectFolder.program(program), arguments: arguments, environment: environment, folder: folder,
            name: name ?? program)
    }

    public init(executable: URL, arguments: [String], environment: [String: String], folder: URL, name: String) throws {
        self.name = name
        log = folder.appending(path: "\(self.name).log")
        if !FileManager.default.fileExists(atPath: log.path) {
            guard FileManager.default.createFile(atPath: log.path, contents: nil) else {
                throw TestKitError("cannot write \(log.path)")
            }
        }
        let handle = try FileHandle(forWritingTo: log)
        logStart = try handle.seekToEnd()
        let process = Process()
        process.executableURL = executable
        process.arguments = arguments
        var variables = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("ROLLCALL_") }
        variables.merge(environment) { $1 }
        process.environment = variables
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = handle
        process.standardError = handle
        try process.run()
        try handle.close()
        pid = process.processIdentifier
        self.process = Mutex(process)
    }

    public var isRunning: Bool { process.withLock { $0.isRunning } }
    public var exitStatus: Int32? { process.withLock { $0.isRunning ? nil : $0.terminationStatus } }

    public func signal(_ number: Int32) { if isRunning { Glibc.kill(pid, number) } }

    /// Stops the process where it is. Returns when every thread stands still: the signal alone leaves them some time.
    public func suspend() async throws {
        signal(SIGSTOP)
        try await eventually("\(name) stands still") {
            let tasks = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")
            return tasks.allSatisfy { task in
                let path = "/proc/\(pid)/task/\(task)/stat"
                guard let stat = try? String(contentsOfFile: path, encoding: .utf8) else { return false }
                return stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].hasPrefix(") T")
            }
        }
    }

    /// SIGKILL, and waits until the process is gone.
    public func kill() async throws {
        signal(SIGKILL)
        try await ended(within: .seconds(120))
    }

    /// SIGTERM, and waits for the exit code. A process that has just been started gets the time to prepare for it.
    @discardableResult
    public func terminate(within deadline: Duration = .seconds(120)) async throws -> Int32 {
        try await eventually("\(name) heeds SIGTERM") { !isRunning || heedsTermination }
        signal(SIGTERM)
        return try await ended(within: deadline)
    }

    private var heedsTermination: Bool {
        guard let status = try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("SigCgt:") }),
            let caught = line.split(whereSeparator: \.isWhitespace).last.flatMap({ UInt64($0, radix: 16) })
        else { return false }
        return caught & 1 << UInt64(SIGTERM - 1) != 0
    }

    @discardableResult
    public func ended(within deadline: Duration) async throws -> Int32 {
        try await eventually("\(name) ends", within: deadline, every: .milliseconds(10)) { !self.isRunning }
        return exitStatus ?? -1
    }

    /// What the process has written so far.
    public func logText() throws -> String {
        let handle = try FileHandle(forReadingFrom: log)
        try handle.seek(toOffset: logStart)
        let text = String(decoding: try handle.readToEnd() ?? Data(), as: UTF8.self)
        try handle.close()
        return text
    }

    /// The value of a member of the newest log record with this message: `listening` and `admin.port`, for example.
    public func logged(_ message: String, _ member: String) throws -> String? {
        for line in try logText().split(separator: "\n").reversed() {
            guard let record = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any],
                record["message"] as? String == message
            else { continue }
            if let value = record[member] ?? (record["metadata"] as? [String: Any])?[member] { return "\(value)" }
        }
        return nil
    }
}

/// Ports of 127.0.0.1 that nobody listens on. The system gives out none of them by itself, and the local stack takes
/// others, so that one is still free when the process that it was taken for gets there.
public enum FreePort {
    private static let range = 10_000..<20_000
    private static let next = Mutex(range.lowerBound + Int(getpid()) * 37 % range.count)

    /// None is given out twice before all have been.
    public static func take() throws -> Int {
        for _ in range {
            let port = next.withLock { next in
                defer { next = next + 1 == range.upperBound ? range.lowerBound : next + 1 }
                return next
            }
            if try isFree(port) { return port }
        }
        throw TestKitError("no port of 127.0.0.1 from \(range.lowerBound) to \(range.upperBound - 1) is free")
    }

    private static func isFree(_ port: Int) throws -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw TestKitError("no socket") }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe bind(descriptor, $0, size) } == 0
        }
    }
}
