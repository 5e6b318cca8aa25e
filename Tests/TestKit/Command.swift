public import Foundation

/// Runs a program to its end.
public enum Command {
    public struct Result: Sendable {
        public let status: Int32
        /// Standard output and standard error, mixed as written.
        public let output: String
    }

    public static func run(_ program: URL, _ arguments: [String], environment: [String: String] = [:]) async throws
        -> Result
    {
        let process = Process()
        process.executableURL = program
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        let file = FileManager.default.temporaryDirectory.appending(path: "rollcall-\(UUID().uuidString).out")
        guard FileManager.default.createFile(atPath: file.path, contents: nil) else {
            throw TestKitError("cannot write \(file.path)")
        }
        let output = try FileHandle(forWritingTo: file)
        defer { try? FileManager.default.removeItem(at: file) }
        process.standardOutput = output
        process.standardError = output
        let status: Int32 = try await withCheckedThrowingContinuation { continuation in
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
        try output.close()
        return Result(status: status, output: String(decoding: try Data(contentsOf: file), as: UTF8.self))
    }
}
