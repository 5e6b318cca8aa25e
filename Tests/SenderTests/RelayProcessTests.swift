import Delivery
import Foundation
import Postgres
import Runtime
import TestKit
import Testing

@testable import sender

/// One relay as a process, made of aiosmtpd: mail only after STARTTLS and AUTH.
private struct SecureRelay {
    struct Received: Decodable {
        let to: String
        let isSecure: Bool
        let login: String
    }

    static let user = "us\u{E9}r"
    static let password = "pass=word"

    let folder: URL
    let process: ServiceProcess
    private let ports: [String: Int]

    /// - Parameter deathAt: the message with which it dies, without an answer; nil for none.
    init(_ name: String, on stack: LocalStack, _ processes: StartedProcesses, deathAt: Int? = nil) async throws {
        folder = stack.stateFolder.appending(path: name)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../SMTPTests/peer.py")
        process = processes.keep(
            try ServiceProcess(
                executable: ProjectFolder.python,
                arguments: [script.standardizedFileURL.path, folder.path] + (deathAt.map { ["\($0)"] } ?? []),
                environment: [:], folder: folder, name: name))
        let file = folder.appending(path: "ports.json")
        let process = process
        try await eventually("\(name) listens", within: .seconds(60)) {
            guard process.isRunning else { throw TestKitError("\(name) ended: \(try process.logText())") }
            return FileManager.default.fileExists(atPath: file.path)
        }
        ports = try JSONDecoder().decode([String: Int].self, from: Data(contentsOf: file))
    }

    func settings(_ name: String) throws -> String {
        "name=\(name) host=127.0.0.1 port=\(try #require(ports["login"])) tls.name=localhost "
            + "tls.ca.file=\(folder.appending(path: "ca.crt").path)"
    }

    func received() throws -> [Received] {
        try folder.appending(path: "received.ndjson").wholeLines()
            .map { try JSONDecoder().decode(Received.self, from: $0) }
    }
}

@Suite(.timeLimit(.minutes(3))) struct `A sender with two relays that want TLS and a password` {
    private static let audience = 60

    @Test
    func `goes on over the other when one dies in the middle: everybody once but for declared doubt, no secret logged`()
        async throws
    {
        try await LocalStack.with("sender-relays") { stack, processes in try await Self.run(stack, processes) }
    }

    private static func run(_ stack: LocalStack, _ processes: StartedProcesses) async throws {
        let mortal = try await SecureRelay("mortal", on: stack, processes, deathAt: 20)
        let spare = try await SecureRelay("spare", on: stack, processes)
        let rig = try await SenderProcessRig.make(
            "relays", on: stack, processes, smtpPort: 1,
            [
                "ROLLCALL_SMTP_RELAYS": "\(try mortal.settings("mortal")), \(try spare.settings("spare"))",
                "ROLLCALL_SMTP_TLS": "starttls-required", "ROLLCALL_SMTP_USER": SecureRelay.user,
                "ROLLCALL_SMTP_PASSWORD": SecureRelay.password,
                "ROLLCALL_SENDER_RATES": "relay:mortal=1000000,relay:spare=1000000",
            ])
        let once = try await rig.dispatch.blast((1...audience).map { "f\($0)@once.example" })
        let least = try await rig.dispatch.blast(
            (1...audience).map { "f\($0)@least.example" }, policy: "at_least_once")
        let sender = try rig.start()
        try await rig.settled()
        #expect(try await mortal.process.ended(within: .seconds(60)) == 9)
        #expect(try await sender.terminate() == 0)

        let (first, second) = (try mortal.received(), try spare.received())
        #expect((first + second).allSatisfy { $0.isSecure && $0.login == SecureRelay.user })
        let times = Dictionary((first + second).map { ($0.to, 1) }, uniquingKeysWith: +)
        let unknown = try await numbers(of: once, "unknown", rig)
        let resent = try await numbers(of: least, "resend", rig)
        #expect(first.count == 20 && second.count >= 2 * audience - 20 - unknown.count)
        #expect(unknown.count + resent.count >= 1, "the message that killed the relay is in doubt")
        #expect(unknown.count + resent.count <= SenderProcessRig.connections)
        for number in 1...audience {
            let (n, m) = (times["f\(number)@once.example"] ?? 0, times["f\(number)@least.example"] ?? 0)
            #expect(n == 1 || n == 0 && unknown.contains(number), "lost in silence, or twice")
            #expect(m == 1 || m == 2 && resent.contains(number), "lost, or twice without doubt")
        }
        #expect(
            try await rig.count("SELECT count(*) AS n FROM send_rate WHERE slice > '-infinity'") == 2,
            "what went over each relay was taken from its rate")

        let log = try sender.logText()
        #expect(log.contains("a relay cannot be used") && log.contains("\"mortal\""))
        for secret in [
            SecureRelay.password, base64(SecureRelay.password),
            base64("\0\(SecureRelay.user)\0\(SecureRelay.password)"),
        ] {
            #expect(!log.contains(secret))
        }
        await rig.dispatch.close()
    }

    private static func numbers(of blast: BlastID, _ state: String, _ rig: SenderProcessRig) async throws -> Set<Int> {
        let rows = try await rig.dispatch.owner.query(
            "SELECT recipient_no FROM attempt WHERE blast_id = $1 AND state = $2", [.uuid(blast), .text(state)])
        return Set(try rows.map { Int(try $0.int32("recipient_no")) })
    }

    private static func base64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }
}
