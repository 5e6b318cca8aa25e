import Foundation
import TestKit

/// The published files, and the independent programs that read them.
enum ContractFiles {
    static let folder = ProjectFolder.root.appending(path: "Shared/Contracts")
    static let validator = ProjectFolder.root.appending(path: "Tests/ContractsTests/validate.py").path

    static func validate(_ arguments: String...) async throws -> Command.Result {
        try await Command.run(ProjectFolder.python, [validator] + arguments)
    }

    static func guide() throws -> String {
        try String(contentsOf: folder.appending(path: "Consuming.md"), encoding: .utf8)
    }

    /// The code blocks of the consumer guide in a language, in order.
    static func guideBlocks(_ language: String) throws -> [String] {
        try guide().components(separatedBy: "```\(language)\n").dropFirst().compactMap {
            $0.components(separatedBy: "\n```").first
        }
    }

    static func withTemporaryFolder(_ body: (URL) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "rollcall-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try await body(folder)
    }
}
