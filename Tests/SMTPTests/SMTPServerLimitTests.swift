import Mail
import NIOPosix
import Synchronization
import Testing

@testable import SMTP

@Suite(.timeLimit(.minutes(1))) struct SMTPServerLimitTests {
    @Test func `connections that reach a server's limit together cost no attempt`() async throws {
        let old = Mutex<Set<Int>>([])
        let isLimited = Atomic(false)
        let server = try await ScriptedServer(on: MultiThreadedEventLoopGroup.singleton) { connection, event in
            guard case .command(let line) = event, line.hasPrefix("MAIL") else {
                return ScriptedServer.accept(event, extensions: "250 mx")
            }
            guard isLimited.load(ordering: .acquiring) else {
                _ = old.withLock { $0.insert(connection) }
                return .reply("250 ok")
            }
            return old.withLock { $0.contains(connection) }
                ? .replyAndClose("421 4.3.2 enough for one connection") : .reply("250 ok")
        }
        var configuration = SMTPConfiguration(host: "127.0.0.1", port: server.port, heloName: "me.example")
        configuration.maxConnections = 3
        let pool = SMTPConnectionPool(configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
        while pool.openConnections < 3 {
            async let first = deliver(pool)
            async let second = deliver(pool)
            async let third = deliver(pool)
            _ = await (first, second, third)
        }
        isLimited.store(true, ordering: .releasing)
        #expect(await deliver(pool) == .accepted(SMTPReply(code: 250, lines: ["2.0.0 queued"])))
        #expect(server.seen.connections == 4)
        await pool.close()
        try await server.stop()
    }

    private func deliver(_ pool: SMTPConnectionPool) async -> SMTPOutcome {
        await pool.deliver(
            SMTPEnvelope(sender: "b@s.example", recipient: "r@x.example"),
            message: Array("Subject: x\r\n\r\nx\r\n".utf8),
            dotDeadline: .now + .seconds(30))
    }
}
