public import Foundation

/// Where the project and its built programs lie.
public enum ProjectFolder {
    public static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// The Python that `deploy/local` installs, with the packages of its `requirements.txt`.
    public static let python = root.appending(path: ".venv/bin/python")

    /// A program of this package, built by the same build as the tests.
    public static func program(_ name: String) -> URL {
        let beside = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: name)
        if FileManager.default.isExecutableFile(atPath: beside.path) { return beside }
        return root.appending(path: ".build/debug/\(name)")
    }
}

/// What a test could not get from its surroundings, in words.
public struct TestKitError: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}
