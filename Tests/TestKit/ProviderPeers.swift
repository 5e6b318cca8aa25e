import Foundation

/// The providers of `Tests/HTTPProvidersTests/providers.py`: Amazon SES as moto plays it, with its signatures checked,
/// and a scripted server for what SES and Twilio may answer, each also behind TLS. Started once, ended with the tests.
public struct ProviderPeers: Sendable {
    private struct Announced: Decodable {
        let ses: Int
        let scripted: Int
        let raw: Int
        let accessKey: String
        let secretKey: String
        let account: String
        let token: String
        let secure: [String: Int]
    }

    /// moto, which nobody here wrote.
    public let ses: String
    public let scripted: String
    /// Answers in octets that no proper server would write.
    public let raw: String
    public let accessKey: String
    public let secretKey: String
    public let account: String
    public let token: String
    private let secure: [String: Int]
    private let folder: URL
    private let process: ServiceProcess

    public static func shared() async throws -> ProviderPeers { try await started.value }

    private static let started = Task { try await ProviderPeers() }

    private init() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "rollcall-providers-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let script = ProjectFolder.root.appending(path: "Tests/HTTPProvidersTests/providers.py")
        let process = try ServiceProcess(
            executable: ProjectFolder.python, arguments: [script.path, folder.path], environment: [:], folder: folder,
            name: "providers")
        let file = folder.appending(path: "providers.json")
        try await eventually("the providers listen", within: .seconds(60)) {
            guard process.isRunning else { throw TestKitError("providers.py ended: \(try process.logText())") }
            return FileManager.default.fileExists(atPath: file.path)
        }
        let announced = try JSONDecoder().decode(Announced.self, from: Data(contentsOf: file))
        ses = "http://127.0.0.1:\(announced.ses)"
        scripted = "http://127.0.0.1:\(announced.scripted)"
        raw = "http://127.0.0.1:\(announced.raw)"
        accessKey = announced.accessKey
        secretKey = announced.secretKey
        account = announced.account
        token = announced.token
        secure = announced.secure
        self.folder = folder
        self.process = process
    }

    /// Behind TLS: moto as `ses`, the scripted server under the name of the certificate that it shows.
    public func securePort(_ name: String) throws -> Int {
        guard let port = secure[name] else { throw TestKitError("there is no peer \(name) with TLS") }
        return port
    }

    /// The file of an authority: `ca`, which issued every certificate, or `other-ca`.
    public func authority(_ name: String = "ca") -> String { folder.appending(path: "\(name).pem").path }

    public struct Mail: Decodable, Sendable {
        public let from: String
        public let to: [String]
        public let raw: String
    }

    /// What moto took.
    public func mails() async throws -> [Mail] {
        struct Messages: Decodable { let messages: [Mail] }
        let answer = try await HTTP.request("GET", scripted)
        return try JSONDecoder().decode(Messages.self, from: answer.body).messages
    }

    /// The bodies of the requests that the scripted server got for a recipient, as JSON objects.
    public func requests(to recipient: String) throws -> [[String: Any]] {
        try folder.appending(path: "requests.ndjson").wholeLines().compactMap { line in
            let request = try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any]
            guard request?["to"] as? String == recipient else { return nil }
            return request?["body"] as? [String: Any]
        }
    }
}
