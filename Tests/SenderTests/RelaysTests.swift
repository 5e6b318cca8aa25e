import Logging
import Mail
import NIOPosix
import Runtime
import SMTP
import TestKit
import Testing

@testable import sender

@Suite("Relays: weights, fail-over and doubt", .timeLimit(.minutes(2)))
struct RelaysTests {
    private static let connections = 4

    private struct Rig {
        let relays: Relays
        let slots: HandOverSlots

        /// As dispatch does it: a slot first, given back when the outcome is known.
        func deliver(_ name: String, recipient: String = "jane@home.example", within: Duration = .seconds(20)) async
            -> SMTPOutcome
        {
            guard await slots.acquire(upTo: 1, isEmergency: false) == 1 else { return .inDoubt(reason: "no slot") }
            let text = Array("Subject: \(name)\r\n\r\nx\r\n".utf8)
            let message = ComposedMessage(
                envelope: SMTPEnvelope(sender: "b@bounce.example", recipient: recipient), octets: text)
            let outcome = await relays.deliver(message, deadline: .now + within, beforeDot: {}, afterDot: {}).outcome
            slots.release(1)
            return outcome
        }

        func deliver(_ names: Range<Int>) async -> [SMTPOutcome] {
            await withTaskGroup(of: SMTPOutcome.self) { group in
                for name in names { group.addTask { await deliver("\(name)") } }
                return await group.reduce(into: []) { $0.append($1) }
            }
        }
    }

    private func withRelays(
        _ servers: [RelayServer], weights: [Int] = [], ports: [Int]? = nil, _ body: (Rig) async throws -> Void
    ) async throws {
        let configurations = (ports ?? servers.map(\.port)).enumerated().map { index, port in
            var smtp = SMTPConfiguration(host: "127.0.0.1", port: port, heloName: "test.example")
            smtp.maxConnections = Self.connections
            smtp.commandTimeout = .seconds(5)
            return RelayConfiguration(
                name: "relay\(index)", weight: weights.indices.contains(index) ? weights[index] : 1, smtp: smtp)
        }
        let slots = HandOverSlots(capacity: configurations.count * Self.connections)
        let relays = Relays(
            configurations.map { Way($0, eventLoopGroup: MultiThreadedEventLoopGroup.singleton) }, slots: slots,
            metrics: SenderMetrics(Metrics()), logger: Logger(label: "test"))
        try await body(Rig(relays: relays, slots: slots))
        await relays.close()
        for server in servers { try await server.stop() }
    }

    private func isAccepted(_ outcome: SMTPOutcome) -> Bool {
        if case .accepted = outcome { true } else { false }
    }

    @Test func `messages are shared by weight, each over its relay's own connections`() async throws {
        let servers = [try await RelayServer(.working), try await RelayServer(.working)]
        try await withRelays(servers, weights: [3, 1]) { rig in
            for name in 0..<40 { #expect(isAccepted(await rig.deliver("\(name)"))) }
            #expect(servers.map(\.state.texts.count) == [30, 10])
            #expect(isAccepted(await rig.deliver("last")))
            let outcomes = await rig.deliver(100..<160)
            #expect(outcomes.allSatisfy(isAccepted))
            #expect(servers.allSatisfy { $0.state.most <= Self.connections })
        }
    }

    @Test(arguments: [RelayServer.Kind.closing, .refusing])
    func `while a relay refuses, every message goes over the other, once, and it comes back when it works`(
        _ kind: RelayServer.Kind
    ) async throws {
        let servers = [try await RelayServer(kind), try await RelayServer(.working)]
        try await withRelays(servers, weights: [10, 1]) { rig in
            #expect(await rig.deliver(0..<50).allSatisfy(isAccepted))
            #expect(servers[0].state.texts.isEmpty)
            #expect(Set(servers[1].state.texts) == Set((0..<50).map(String.init)))
            #expect(servers[1].state.texts.count == 50)
            #expect(rig.relays.troubled == ["relay0"] && rig.relays.isUsable)
            servers[0].become(.working)
            try await eventually("the relay is used again", within: .seconds(30)) {
                _ = await rig.deliver("again")
                return !servers[0].state.texts.isEmpty
            }
            #expect(rig.relays.troubled.isEmpty)
        }
    }

    @Test func `a relay that cannot be connected to costs nothing while another works`() async throws {
        let gone = try await RelayServer(.working)
        try await gone.stop()
        let server = try await RelayServer(.working)
        try await withRelays([server], ports: [gone.port, server.port]) { rig in
            #expect(await rig.deliver(0..<50).allSatisfy(isAccepted))
            #expect(server.state.texts.count == 50)
        }
    }

    @Test func `a relay that hangs holds its own connections and nobody else's`() async throws {
        let servers = [try await RelayServer(.hanging), try await RelayServer(.working)]
        try await withRelays(servers) { rig in
            let outcomes = await rig.deliver(0..<200)
            #expect(outcomes.allSatisfy(isAccepted))
            #expect(servers[0].state.most <= Self.connections)
            #expect(servers[1].state.texts.count == 200)
        }
    }

    @Test func `a message in doubt stays in doubt with its relay, and no other relay sees it`() async throws {
        let servers = [try await RelayServer(.doubtful), try await RelayServer(.working)]
        try await withRelays(servers) { rig in
            var doubtful = 0
            for name in 0..<20 {
                switch await rig.deliver("\(name)") {
                case .inDoubt: doubtful += 1
                case let outcome: #expect(isAccepted(outcome), "\(outcome)")
                }
            }
            let seen = servers.flatMap(\.state.texts)
            #expect(doubtful >= 1 && doubtful == servers[0].state.texts.count)
            #expect(seen.count == 20 && Set(seen).count == 20)
            #expect(doubtful < 10, "a relay that leaves doubt gets fewer messages")
        }
    }

    @Test func `when no relay can be used messages come back unsent, and one at a time tries again`() async throws {
        let server = try await RelayServer(.closing)
        try await withRelays([server]) { rig in
            for outcome in [await rig.deliver("a"), await rig.deliver("b")] {
                guard case .deferred(_, let stage, _) = outcome else {
                    Issue.record("\(outcome)")
                    continue
                }
                #expect(stage.isBeforeEnvelope)
            }
            #expect(!rig.relays.isUsable)
            server.become(.working)
            try await eventually("it works again", within: .seconds(30)) { isAccepted(await rig.deliver("again")) }
            #expect(rig.relays.isUsable && rig.relays.pauseNeeded == nil)
        }
    }

    @Test func `what one relay does not offer goes to the one that does, and is refused when none does`() async throws {
        let servers = [
            try await RelayServer(.working), try await RelayServer(.working, extensions: ["SMTPUTF8", "8BITMIME"]),
        ]
        try await withRelays(servers) { rig in
            for name in 0..<4 {
                #expect(isAccepted(await rig.deliver("\(name)", recipient: "josé@home.example")))
            }
            #expect(servers.map(\.state.texts.count) == [0, 4])
            #expect(rig.relays.troubled.isEmpty)
        }
        let plain = try await RelayServer(.working)
        try await withRelays([plain]) { rig in
            guard case .rejected(let reply, _) = await rig.deliver("x", recipient: "josé@home.example") else {
                Issue.record("it was not refused")
                return
            }
            #expect(reply.isLocal && "\(reply)".contains("5.6.7"))
        }
    }

    @Test func `while the relay that might take it is away, what another does not offer waits`() async throws {
        let servers = [
            try await RelayServer(.working), try await RelayServer(.closing, extensions: ["SMTPUTF8", "8BITMIME"]),
        ]
        try await withRelays(servers) { rig in
            for _ in 0..<3 {
                guard case .deferred = await rig.deliver("x", recipient: "josé@home.example") else {
                    Issue.record("it did not wait")
                    return
                }
            }
        }
    }
}
