import Foundation
import Mail
import NIOPosix
import TestKit

@testable import SMTP

/// The servers of `peer.py`, which nobody here wrote: started once, ended with the tests.
struct MailPeers: Sendable {
    struct Received: Decodable {
        let server: String
        let from: String
        let to: String
        let options: [String]
        let isSecure: Bool
        let login: String
        let content: Data
    }

    let folder: URL
    private let ports: [String: Int]
    private let process: ServiceProcess

    static func shared() async throws -> MailPeers { try await started.value }

    private static let started = Task { try await MailPeers() }

    private init() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "rollcall-peers-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "peer.py")
        let process = try ServiceProcess(
            executable: ProjectFolder.python, arguments: [script.path, folder.path], environment: [:], folder: folder,
            name: "peer")
        let file = folder.appending(path: "ports.json")
        try await eventually("the peers listen", within: .seconds(60)) {
            guard process.isRunning else { throw TestKitError("peer.py ended: \(try process.logText())") }
            return FileManager.default.fileExists(atPath: file.path)
        }
        ports = try JSONDecoder().decode([String: Int].self, from: Data(contentsOf: file))
        self.folder = folder
        self.process = process
    }

    func configuration(_ server: String, host: String = "127.0.0.1") throws -> SMTPConfiguration {
        SMTPConfiguration(host: host, port: try port(server), heloName: "me.example")
    }

    func port(_ server: String) throws -> Int {
        guard let port = ports[server] else { throw TestKitError("there is no peer \(server)") }
        return port
    }

    func tls(
        _ name: String = "localhost", authority: String = "ca", isVerified: Bool = true
    ) throws -> SMTPTLS {
        try SMTPTLS(
            serverName: name, caFile: folder.appending(path: "\(authority).crt").path, isVerified: isVerified)
    }

    /// What the servers took from this sender.
    func received(from sender: String) throws -> [Received] {
        try folder.appending(path: "received.ndjson").wholeLines()
            .map { try JSONDecoder().decode(Received.self, from: $0) }
            .filter { $0.from == sender }
    }
}

/// One attempt on a pool of its own.
struct Attempt {
    /// Nobody else's, so that what arrived can be told apart.
    let sender = "b+\(UUID().uuidString.lowercased())@bounce.example"
    var recipient = "jane@home.example"
    var text = Array("Subject: x\r\n\r\n.hello\r\n..\r\n.\r\nworld\r\n".utf8)
    var deadline = Duration.seconds(30)

    func run(_ configuration: SMTPConfiguration) async -> SMTPOutcome {
        let pool = SMTPConnectionPool(configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
        let outcome = await pool.deliver(
            SMTPEnvelope(sender: sender, recipient: recipient, envelopeID: "id/1"), message: text,
            dotDeadline: .now + deadline)
        await pool.close()
        return outcome
    }
}

extension SMTPOutcome {
    /// As the tests write it: `rejected@recipient`.
    var short: String {
        switch self {
        case .accepted: "accepted"
        case .rejected(_, let stage): "rejected@\(stage.rawValue)"
        case .deferred(_, let stage, _): "deferred@\(stage.rawValue)"
        case .inDoubt: "in doubt"
        }
    }

    var reason: String {
        switch self {
        case .accepted(let reply), .rejected(let reply, _): "\(reply)"
        case .deferred(_, _, let reason), .inDoubt(let reason): reason
        }
    }
}
