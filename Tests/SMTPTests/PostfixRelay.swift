import Foundation
import TestKit

@testable import SMTP

/// A Postfix of our own, in a private folder and on a free port, that delivers everything on to one next hop. Its
/// daemons change users, so only root can start it.
struct PostfixRelay: Sendable {
    static let program = URL(filePath: "/usr/sbin/postfix")
    static let isUsable = geteuid() == 0 && FileManager.default.isExecutableFile(atPath: program.path)

    let folder: URL
    let port: Int
    private let process: ServiceProcess

    /// - Parameter peers: whose certificate it shows.
    static func run<Value>(
        nextHop: Int, peers: MailPeers, _ body: (PostfixRelay) async throws -> Value
    ) async throws -> Value {
        let relay = try await start(nextHop: nextHop, peers: peers)
        let result: Value
        do {
            result = try await body(relay)
        } catch {
            try await relay.stop()
            throw error
        }
        try await relay.stop()
        return result
    }

    private static func start(nextHop: Int, peers: MailPeers) async throws -> PostfixRelay {
        let folder = FileManager.default.temporaryDirectory.appending(path: "rollcall-postfix-\(UUID().uuidString)")
        let port = try FreePort.take()
        for name in ["etc", "spool", "data"] {
            try FileManager.default.createDirectory(
                at: folder.appending(path: name), withIntermediateDirectories: true)
        }
        for name in ["good.crt", "good.key"] {
            try FileManager.default.copyItem(
                at: peers.folder.appending(path: name), to: folder.appending(path: "etc/\(name)"))
        }
        try master(port).write(to: folder.appending(path: "etc/master.cf"), atomically: true, encoding: .utf8)
        try main(folder.path, nextHop).write(
            to: folder.appending(path: "etc/main.cf"), atomically: true, encoding: .utf8)
        // The daemons' user has to reach its folders, and `data` has to be its own.
        try await run("/bin/chmod", ["755", folder.path])
        try await run("/bin/chown", ["postfix", folder.appending(path: "data").path])
        let etc = folder.appending(path: "etc").path
        try await run(program.path, ["-c", etc, "check"])
        let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "postfix.py")
        let process = try ServiceProcess(
            executable: ProjectFolder.python, arguments: [script.path, folder.path], environment: [:], folder: folder,
            name: "postfix")
        let relay = PostfixRelay(folder: folder, port: port, process: process)
        let configuration = SMTPConfiguration(host: "127.0.0.1", port: port, heloName: "me.example")
        try await eventually("Postfix answers", within: .seconds(60), every: .milliseconds(50)) {
            guard process.isRunning else { throw TestKitError("Postfix ended: \(try relay.log())") }
            return await Attempt(recipient: "").run(configuration).short == "rejected@mail"
        }
        return relay
    }

    private func stop() async throws {
        let status = try await process.terminate()
        guard status == 0 else { throw TestKitError("Postfix did not stop: \(status)") }
    }

    func log() throws -> String {
        let mail = folder.appending(path: "maillog")
        let text =
            FileManager.default.fileExists(atPath: mail.path) ? try String(contentsOf: mail, encoding: .utf8) : ""
        return try process.logText() + text
    }

    private static func run(_ program: String, _ arguments: [String]) async throws {
        let result = try await Command.run(URL(filePath: program), arguments)
        guard result.status == 0 else { throw TestKitError("\(program) failed: \(result.output)") }
    }

    private static func master(_ port: Int) -> String {
        """
        127.0.0.1:\(port) inet n - n - 20 smtpd
        cleanup unix n - n - 0 cleanup
        qmgr unix n - n 300 1 qmgr
        rewrite unix - - n - - trivial-rewrite
        bounce unix - - n - 0 bounce
        defer unix - - n - 0 bounce
        trace unix - - n - 0 bounce
        smtp unix - - n - - smtp
        error unix - - n - - error
        retry unix - - n - - error
        tlsmgr unix - - n 1000? 1 tlsmgr
        anvil unix - - n - 1 anvil
        postlog unix-dgram n - n - 1 postlogd

        """
    }

    private static func main(_ folder: String, _ nextHop: Int) -> String {
        """
        compatibility_level = 3.6
        queue_directory = \(folder)/spool
        data_directory = \(folder)/data
        maillog_file = \(folder)/maillog
        maillog_file_prefixes = \(folder)
        multi_instance_name = postfix-rollcall-test
        inet_interfaces = 127.0.0.1
        inet_protocols = ipv4
        myhostname = relay.test
        mydestination =
        local_recipient_maps =
        alias_maps =
        mynetworks = 127.0.0.0/8
        smtpd_relay_restrictions = permit_mynetworks, reject
        smtp_dns_support_level = disabled
        relayhost = [127.0.0.1]:\(nextHop)
        smtpd_tls_cert_file = \(folder)/etc/good.crt
        smtpd_tls_key_file = \(folder)/etc/good.key
        smtpd_tls_security_level = may
        smtpd_tls_received_header = yes
        local_header_rewrite_clients =
        smtputf8_enable = yes

        """
    }
}
