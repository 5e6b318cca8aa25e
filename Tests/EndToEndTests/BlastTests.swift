import Contracts
import Delivery
import Foundation
import Postgres
import TestKit
import Testing

/// The whole system as processes: from Send to Clicked, and through every kind of death.
@Suite(.serialized) struct `A blast` {
    @Test func `reaches every kind of mailbox and every recipient is accounted for`() async throws {
        try await BlastRig.with("blast") { rig in
            let list = Mailboxes.list(2000)
            let blast = try await rig.send(list, subject: "Lunch menu")
            try await rig.expectStatuses(of: blast, list)
            try rig.expectAcceptances(of: blast, list, extra: 0)
            try await rig.expectTopicAgrees(with: blast)
            try await rig.expectCounts(of: blast, audience: list.count)
            try await rig.expectPastAgrees(of: blast)
            try await rig.expectExplained(of: blast, list)
            try await rig.expectCleanAudit()
            for service in BlastRig.services {
                #expect(try await rig.process(service).terminate() == 0, "\(service)")
                let log = try rig.process(service).logText()
                #expect(!log.contains("families.example"), "\(service) logs addresses")
                #expect(!log.contains(rig.apiKey), "\(service) logs a key")
            }
            try await rig.expectContractKept()
        }
    }

    @Test func `survives kill -9 of every service at random moments`() async throws {
        try await BlastRig.with("blast-kills") { rig in
            var random = SeededGenerator(seed: UInt64(RunSeed.take()))
            let list = Mailboxes.list(2000)
            let blast = try await rig.send(list, subject: "Snow day")
            var senderKills = 0
            let victims = ["status-projector", "sender", "blacklist-guard", "event-ingester"]
            for round in 0..<10 {
                let progress = try await rig.settledCount(blast)
                let goal = progress + Int64.random(in: 20...150, using: &random)
                _ = try? await eventually("progress", within: .seconds(4)) {
                    try await rig.settledCount(blast)
                } until: {
                    $0 >= goal
                }
                let victim = round < 4 ? victims[round] : victims.randomElement(using: &random) ?? "sender"
                if victim == "sender" { senderKills += 1 }
                try await rig.killAndRestart(victim)
            }
            try await rig.expectStatuses(of: blast, list, within: .seconds(500))
            try rig.expectAcceptances(of: blast, list, extra: senderKills * 10)
            try await rig.expectTopicAgrees(with: blast)
            try await rig.expectCounts(of: blast, audience: list.count)
            try await rig.expectCleanAudit()
        }
    }

    @Test func `survives a death at each named point between two steps`() async throws {
        try await BlastRig.with("blast-points", ["ROLLCALL_SENDER_INDOUBT_AFTER": "6s"]) { rig in
            let points: [String: [String]] = [
                "sender": [
                    "sender.after-claim", "sender.after-wire:2", "sender.before-dot:5", "sender.after-dot:5",
                    "sender.after-reply:5",
                ],
                "blacklist-guard": ["guard.after-screen", "guard.after-publish"],
                "status-projector": [
                    "projector.before-commit:2", "projector.after-commit:2", "projector.after-publish",
                ],
                "event-ingester": ["ingester.after-ack:2"],
            ]
            for round in 0..<5 {
                let armed = points.compactMap { service, names in
                    names.indices.contains(round) ? (service: service, point: names[round]) : nil
                }
                var alive: [(process: ServiceProcess, service: String, point: String)] = []
                for (service, point) in armed {
                    try await rig.process(service).terminate()
                    alive.append((try rig.start(service, ["ROLLCALL_FAULT_POINT": point]), service, point))
                }
                for (service, _) in armed { try await rig.readyOrEnded(service) }
                let list = Mailboxes.list(120, tag: "p\(round)")
                let blast = try await rig.send(list, subject: "Round \(round)")
                try await eventually("the armed services of round \(round) die and come back") {
                    for (process, service, point) in alive where !process.isRunning {
                        #expect(process.exitStatus == 9, "\(point)")
                        if !(try rig.process(service).isRunning) { try rig.start(service) }
                        alive.removeAll { $0.service == service }
                    }
                    return alive.isEmpty
                }
                try await rig.expectStatuses(of: blast, list)
                try rig.expectAcceptances(of: blast, list, extra: armed.contains { $0.service == "sender" } ? 10 : 0)
                try await rig.expectTopicAgrees(with: blast)
            }
            try await rig.expectCleanAudit()
        }
    }

    @Test func `goes on while a second projector and a second sender join and leave, and nothing is handed over twice`()
        async throws
    {
        try await BlastRig.with("blast-members") { rig in
            let list = Mailboxes.list(1500)
            let blast = try await rig.send(list, subject: "Picture day")
            try rig.start("status-projector", as: "status-projector-2")
            try rig.start("sender", as: "sender-2")
            try await rig.ready("sender-2")
            _ = try await eventually("half is settled") {
                try await rig.settledCount(blast)
            } until: {
                $0 > 600
            }
            #expect(try await rig.process("sender").terminate() == 0)
            #expect(try await rig.process("status-projector").terminate() == 0)
            try rig.start("status-projector")
            try await rig.expectStatuses(of: blast, list)
            try rig.expectAcceptances(of: blast, list, extra: 0)
            try await rig.expectTopicAgrees(with: blast)
            try await rig.expectCleanAudit()
        }
    }

    @Test func `survives a broker that comes back empty in the middle, which is noticed and reported`() async throws {
        try await BlastRig.with("blast-broker") { rig in
            let list = Mailboxes.list(1000, silent: false)
            let blast = try await rig.send(list, subject: "Field trip", policy: "at_most_once")
            _ = try await eventually("the blast is under way") {
                try await rig.settledCount(blast)
            } until: {
                $0 > 200
            }
            try await rig.stack.restartBroker()
            try await rig.stack.createTopics()
            try await eventually("the restart is recorded") {
                try await rig.database.query("SELECT 1 FROM projector_incident").count >= 1
            }
            // Reports of the provider that were answered 2xx and not yet projected are gone with the broker: their
            // recipients keep the best that is known. Everything of our own is said again.
            _ = try await eventually(
                "every recipient is decided or handed over", every: .seconds(1)
            ) {
                try await rig.facts(of: blast).values.filter { !$0.intersects(.handedOverMask) }.count
            } until: {
                $0 == 0
            }
            let facts = try await rig.facts(of: blast)
            #expect(facts.count == list.count)
            for (index, recipient) in list.enumerated() where !recipient.isAccepted {
                let known = try #require(facts[Int32(index + 1)])
                #expect(recipient.isMet(by: known), "\(recipient.address): \(known.names)")
            }
            try rig.expectAcceptances(of: blast, list, extra: 0)
            try await rig.expectTopicAgrees(with: blast)
            try await rig.expectCounts(of: blast, audience: list.count)
            try await rig.expectCleanAudit()
        }
    }
}
