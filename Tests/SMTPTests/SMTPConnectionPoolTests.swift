import Mail
import NIOPosix
import Synchronization
import Testing

@testable import SMTP

@Suite(.timeLimit(.minutes(1))) struct SMTPConnectionPoolTests {
    private static let text = Array("Subject: x\r\n\r\n.hello\nworld\r\n".utf8)
    private static let envelope = SMTPEnvelope(sender: "b@s.example", recipient: "r@x.example")

    /// How the server behaves, and what the pool is told.
    private struct Script {
        let react: @Sendable (Int, ScriptedServer.Event) -> ScriptedServer.Reaction
        var settings: [(inout SMTPConfiguration) -> Void] = []

        init(_ react: @escaping @Sendable (Int, ScriptedServer.Event) -> ScriptedServer.Reaction) {
            self.react = react
        }

        func with<Value>(_ setting: WritableKeyPath<SMTPConfiguration, Value>, _ value: Value) -> Script {
            var script = self
            script.settings.append { $0[keyPath: setting] = value }
            return script
        }
    }

    private func withServer(
        _ script: Script, clock: JumpingClock = JumpingClock(),
        _ body: (SMTPConnectionPool, ScriptedServer) async throws -> Void
    ) async throws {
        let server = try await ScriptedServer(on: MultiThreadedEventLoopGroup.singleton, script.react)
        var configuration = SMTPConfiguration(host: "127.0.0.1", port: server.port, heloName: "me.example")
        configuration.maxConnections = 2
        for set in script.settings { set(&configuration) }
        let pool = SMTPConnectionPool(
            configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton, now: { clock.now })
        try await body(pool, server)
        await pool.close()
        #expect(pool.openConnections == 0)
        try await server.stop()
    }

    private func deliver(
        _ pool: SMTPConnectionPool, within: Duration = .seconds(30), beforeDot: (@Sendable () -> Void)? = nil,
        afterDot: (@Sendable () -> Void)? = nil
    ) async -> SMTPOutcome {
        await pool.deliver(
            Self.envelope, message: Self.text, dotDeadline: .now + within, beforeDot: beforeDot, afterDot: afterDot)
    }

    /// Waits until the condition holds, at most half a minute.
    private func eventually(_ condition: () -> Bool, at location: SourceLocation = #_sourceLocation) async throws {
        let deadline = ContinuousClock.now + .seconds(30)
        while !condition() {
            try #require(ContinuousClock.now < deadline, "the condition did not come about", sourceLocation: location)
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    private func stage(_ outcome: SMTPOutcome) -> SMTPStage? {
        guard case .deferred(_, let stage, _) = outcome else { return nil }
        return stage
    }

    private func isInDoubt(_ outcome: SMTPOutcome) -> Bool {
        if case .inDoubt = outcome { true } else { false }
    }

    @Test(arguments: ["250-mx.example\r\n250-SIZE 100000\r\n250-8BITMIME\r\n250 PIPELINING", "250 mx.example"])
    func `messages in a row use one connection and arrive whole`(_ extensions: String) async throws {
        try await withServer(Script { ScriptedServer.accept($1, extensions: extensions) }) { pool, server in
            for _ in 1...5 {
                #expect(await deliver(pool) == .accepted(SMTPReply(code: 250, lines: ["2.0.0 queued"])))
            }
            #expect(pool.openConnections == 1)
            let seen = server.seen
            #expect(seen.connections == 1)
            #expect(
                seen.messages == Array(repeating: Array("Subject: x\r\n\r\n..hello\r\nworld".utf8), count: 5))
        }
    }

    @Test func `a server without EHLO is greeted with HELO`() async throws {
        try await withServer(
            Script { _, event in
                if case .command("EHLO me.example") = event { return .reply("502 5.5.1 what") }
                return ScriptedServer.accept(event)
            }
        ) { pool, server in
            #expect(await deliver(pool) == .accepted(SMTPReply(code: 250, lines: ["2.0.0 queued"])))
            #expect(server.seen.commands.contains("HELO me.example"))
        }
    }

    @Test func `connections are replaced after their share of messages`() async throws {
        try await withServer(Script { ScriptedServer.accept($1) }.with(\.maxMessagesPerConnection, 2)) {
            pool, server in
            for _ in 1...5 { _ = await deliver(pool) }
            #expect(server.seen.connections == 3)
            #expect(server.seen.messages.count == 5)
        }
    }

    @Test func `no more than the allowed connections are opened and everyone is served`() async throws {
        try await withServer(Script { ScriptedServer.accept($1) }) { pool, server in
            let accepted = await withTaskGroup(of: Bool.self) { group in
                for _ in 0..<60 {
                    group.addTask {
                        if case .accepted = await deliver(pool) { true } else { false }
                    }
                }
                return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
            #expect(accepted == 60)
            #expect(server.seen.messages.count == 60)
            #expect((1...2).contains(server.seen.connections))
        }
    }

    @Test func `a refusal is reported with its stage and the connection is kept`() async throws {
        try await withServer(
            Script { _, event in
                if case .command(let line) = event, line.hasPrefix("RCPT") { return .reply("550 5.1.1 unknown") }
                if case .command("DATA") = event { return .reply("554 5.5.1 no recipients") }
                return ScriptedServer.accept(event)
            }
        ) { pool, server in
            for _ in 1...3 {
                let outcome = await deliver(pool)
                #expect(outcome == .rejected(SMTPReply(code: 550, lines: ["5.1.1 unknown"]), stage: .recipient))
            }
            #expect(server.seen.connections == 1)
            #expect(server.seen.messages.isEmpty)
        }
    }

    @Test(arguments: ["452 4.2.2 full", "554 5.6.0 spam", "421 4.3.2 closing"])
    func `a refusal after the dot is an answer`(_ line: String) async throws {
        try await withServer(
            Script { _, event in
                event == .dot ? .reply(line) : ScriptedServer.accept(event)
            }
        ) { pool, server in
            let outcome = await deliver(pool)
            switch outcome {
            case .deferred(let reply, .dot, _): #expect(reply?.code == (line.hasPrefix("452") ? 452 : 421))
            case .rejected(let reply, .dot): #expect(reply.code == 554)
            default: Issue.record("\(outcome)")
            }
            if line.hasPrefix("421") { try await eventually { pool.openConnections == 0 } }
        }
    }

    @Test(arguments: ["connected", "EHLO", "MAIL", "RCPT", "DATA"])
    func `a connection lost before the dot is a deferral`(_ moment: String) async throws {
        try await withServer(
            Script { _, event in
                if event == .connected, moment == "connected" { return .close }
                if case .command(let line) = event, line.hasPrefix(moment) { return .close }
                return ScriptedServer.accept(event, extensions: "250 mx")
            }
        ) { pool, server in
            let outcome = await deliver(pool)
            #expect(stage(outcome) != nil, "\(outcome)")
            #expect(server.seen.messages.isEmpty)
        }
    }

    @Test func `a connection lost after the dot leaves doubt`() async throws {
        try await withServer(
            Script { _, event in
                event == .dot ? .close : ScriptedServer.accept(event)
            }
        ) { pool, server in
            let outcome = await deliver(pool)
            #expect(isInDoubt(outcome), "\(outcome)")
            #expect(server.seen.messages.count == 1)
            #expect(server.seen.connections == 1)
        }
    }

    @Test(arguments: ["hello there", "250-a\r\n550 b", "354 more"])
    func `an unusable reply to the dot leaves doubt`(_ text: String) async throws {
        try await withServer(
            Script { _, event in
                event == .dot ? .reply(text) : ScriptedServer.accept(event)
            }
        ) { pool, _ in
            let outcome = await deliver(pool)
            #expect(isInDoubt(outcome), "\(outcome)")
        }
    }

    @Test func `silence after the dot leaves doubt and silence before it does not`() async throws {
        try await withServer(
            Script { _, event in event == .dot ? .silence : ScriptedServer.accept(event) }
                .with(\.dotReplyTimeout, .milliseconds(50))
        ) { pool, _ in
            let outcome = await deliver(pool)
            #expect(isInDoubt(outcome), "\(outcome)")
        }
        try await withServer(
            Script { _, event in event == .command("DATA") ? .silence : ScriptedServer.accept(event) }
                .with(\.commandTimeout, .seconds(4))
        ) { pool, _ in
            let outcome = await deliver(pool)
            #expect(stage(outcome) == .data, "\(outcome)")
        }
    }

    @Test func `a deadline that passes at the server's 354 sends no dot`() async throws {
        let clock = JumpingClock()
        try await withServer(
            Script { _, event in
                event == .command("DATA") ? .silence : ScriptedServer.accept(event, extensions: "250 mx")
            }, clock: clock
        ) { pool, server in
            let deadline = ContinuousClock.now + .seconds(3_600)
            let outcome = await pool.deliver(
                Self.envelope, message: Self.text, dotDeadline: deadline,
                entered: { if $0 == .recipient { clock.jump(to: deadline - .seconds(1)) } },
                beforeDot: { Issue.record("a dot") }, afterDot: { Issue.record("a dot") })
            #expect(stage(outcome) == .data, "\(outcome)")
            try await eventually { server.seen.ended == 1 }
            #expect(server.seen.messages.isEmpty)
        }
    }

    @Test(arguments: ["250 taken", "451 4.3.0 not now"])
    func `an answer to the text that comes with the 354 counts for nothing, and no dot is sent`(
        _ early: String
    ) async throws {
        try await withServer(
            Script { _, event in
                event == .command("DATA") ? .reply("354 go on\r\n\(early)") : ScriptedServer.accept(event)
            }
        ) { pool, server in
            let outcome = await deliver(pool)
            #expect(stage(outcome) == .data, "\(outcome)")
            #expect(server.seen.messages.isEmpty)
        }
    }

    @Test func `a deadline that passes while the text is written sends no dot`() async throws {
        let clock = JumpingClock()
        try await withServer(
            Script { _, event in
                event == .command("DATA") ? .replyAndStall("354 go on") : ScriptedServer.accept(event)
            }, clock: clock
        ) { pool, server in
            let deadline = ContinuousClock.now + .seconds(3_600)
            let outcome = await pool.deliver(
                Self.envelope, message: [UInt8](repeating: 65, count: 12 << 20), dotDeadline: deadline,
                entered: { if $0 == .data { clock.jump(to: deadline - .seconds(1)) } },
                beforeDot: { Issue.record("a dot") })
            #expect(stage(outcome) == .body, "\(outcome)")
            #expect(server.seen.messages.isEmpty)
        }
    }

    @Test func `a process that was stopped between the 354 and the dot sends no dot`() async throws {
        let clock = JumpingClock()
        try await withServer(Script { ScriptedServer.accept($1) }, clock: clock) { pool, server in
            let deadline = ContinuousClock.now + .seconds(30)
            let outcome = await pool.deliver(
                Self.envelope, message: Self.text, dotDeadline: deadline,
                entered: { if $0 == .body { clock.jump(to: deadline + .seconds(3_600)) } },
                beforeDot: { Issue.record("a dot") })
            #expect(stage(outcome) == .body, "\(outcome)")
            try await eventually { server.seen.ended == 1 }
            #expect(server.seen.messages.isEmpty)
        }
    }

    @Test func `a deadline already past opens nothing`() async throws {
        try await withServer(Script { ScriptedServer.accept($1) }) { pool, server in
            #expect(stage(await deliver(pool, within: .zero)) == .connect)
            #expect(server.seen.connections == 0)
        }
    }

    @Test func `the hooks run once each around the dot`() async throws {
        let calls = Mutex<[String]>([])
        try await withServer(
            Script { _, event in
                if event == .dot { calls.withLock { $0.append("dot") } }
                return ScriptedServer.accept(event)
            }
        ) { pool, server in
            _ = await deliver(
                pool, beforeDot: { calls.withLock { $0.append("before") } },
                afterDot: { calls.withLock { $0.append("after") } })
        }
        let seen = calls.withLock { $0 }
        #expect(seen.sorted() == ["after", "before", "dot"])
        #expect(seen.first == "before")
    }

    @Test(arguments: [ScriptedServer.Reaction.close, .replyAndClose("421 4.3.2 enough for one connection")])
    func `a kept connection that ends before any answer costs no attempt`(_ end: ScriptedServer.Reaction) async throws {
        let mails = Mutex(0)
        try await withServer(
            Script { _, event in
                guard case .command(let line) = event, line.hasPrefix("MAIL") else {
                    return ScriptedServer.accept(event, extensions: "250 mx")
                }
                let count = mails.withLock { mails in
                    mails += 1
                    return mails
                }
                return count == 2 ? end : .reply("250 ok")
            }
        ) { pool, server in
            for _ in 1...2 {
                #expect(await deliver(pool) == .accepted(SMTPReply(code: 250, lines: ["2.0.0 queued"])))
            }
            #expect(server.seen.connections == 2)
            #expect(server.seen.messages.count == 2)
        }
    }

    @Test func `a refused connect is a deferral that names the place`() async throws {
        let server = try await ScriptedServer(on: MultiThreadedEventLoopGroup.singleton) { ScriptedServer.accept($1) }
        try await server.stop()
        let configuration = SMTPConfiguration(host: "127.0.0.1", port: server.port, heloName: "me.example")
        let pool = SMTPConnectionPool(configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
        for _ in 1...12 {
            guard case .deferred(nil, .connect, let reason) = await deliver(pool) else {
                Issue.record("not deferred")
                return
            }
            #expect(reason.contains("127.0.0.1:\(server.port)"))
        }
        await pool.close()
    }

    @Test(arguments: ["421 4.3.2 busy", "554 5.3.2 no service", "hello"])
    func `a server that does not serve us is a deferral`(_ greeting: String) async throws {
        try await withServer(
            Script { _, event in
                event == .connected ? .reply(greeting) : ScriptedServer.accept(event)
            }
        ) { pool, server in
            #expect(stage(await deliver(pool)) == .greeting)
            #expect(server.seen.commands.isEmpty)
        }
    }

    @Test func `what a server says before it closes at once is heard`() async throws {
        let script = Script { _, _ in .replyAndClose("421 4.3.2 too many connections") }
        try await withServer(script.with(\.maxConnections, 40)) { pool, _ in
            await withTaskGroup(of: SMTPOutcome.self) { group in
                for _ in 1...400 { group.addTask { await deliver(pool) } }
                for await outcome in group { #expect(stage(outcome) == .greeting, "\(outcome)") }
            }
        }
    }

    @Test func `a closed pool lets running attempts end and refuses new ones`() async throws {
        try await withServer(Script { ScriptedServer.accept($1) }) { pool, server in
            async let first = deliver(pool)
            try await eventually { server.seen.messages.count == 1 }
            await pool.close()
            #expect(await first == .accepted(SMTPReply(code: 250, lines: ["2.0.0 queued"])))
            #expect(stage(await deliver(pool)) == .connect)
            #expect(server.seen.commands.last == "QUIT")
        }
    }

    @Test func `a cancelled wait for a connection is a deferral`() async throws {
        try await withServer(
            Script { _, event in event == .command("DATA") ? .silence : ScriptedServer.accept(event) }
                .with(\.maxConnections, 1).with(\.commandTimeout, .seconds(4))
        ) { pool, server in
            async let holder = deliver(pool)
            try await eventually { server.seen.commands.last == "DATA" }
            let waiting = Task { await deliver(pool) }
            waiting.cancel()
            guard case .deferred(nil, .connect, let reason) = await waiting.value else {
                Issue.record("not deferred")
                return
            }
            #expect(reason.contains("cancelled"))
            #expect(stage(await holder) == .data)
        }
    }

    @Test func `a configuration that cannot work is named`() async {
        var configuration = SMTPConfiguration(host: "127.0.0.1", port: 25, heloName: "a\r\nMAIL")
        #expect(configuration.fault?.hasPrefix("heloName:") == true)
        let pool = SMTPConnectionPool(configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
        #expect(stage(await deliver(pool)) == .connect)
        configuration.heloName = "me.example"
        #expect(configuration.fault == nil)
        configuration.port = 0
        #expect(configuration.fault?.hasPrefix("port:") == true)
    }
}
