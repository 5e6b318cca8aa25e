import Contracts
import Foundation
import Postgres
import TestKit
import Testing

/// A topic that is no longer the one that was read, in a cluster that is still the same.
@Suite(.serialized) struct `A topic made anew` {
    @Test func `is a new incarnation whether it is longer, shorter or empty: reported, and nothing is skipped`()
        async throws
    {
        let seed = RunSeed.take()
        try await ProjectorRig.with("projector-recreated") { rig in
            try await rig.insertBlast(recipients: 40)
            let partitions = Int64(Topic.deliveryEvents.partitions)
            var told: [HistoryCase] = []
            for (turn, length) in [300, 900, 120, 0, 200].enumerated() {
                let history = try await Reference.history(seed: seed + turn, recipients: 40, records: max(length, 1))
                if turn > 0 {
                    try await rig.topics(["recreate", Topic.deliveryEvents.name, "\(partitions)"])
                    try await rig.reconnect()
                }
                let records = length == 0 ? [] : history.produced([rig.blast])
                try await rig.produce(records: records)
                if length > 0 { told.append(history) }
                // The broker of the tests says nothing about an offset beyond its end.
                let projector = try rig.startProjector("turn-\(turn)", ["ROLLCALL_PROJECTOR_TAIL_DEADLINE": "5s"])
                try await rig.waitUntilProjected(records.count)
                try await eventually("restart \(turn) is recorded") {
                    // An empty partition has nothing to be missed, so the fifth topic restarts nothing.
                    try await rig.number("SELECT count(*) FROM projector_incident") == partitions * Int64(min(turn, 3))
                }
                if (1...3).contains(turn) {
                    #expect(try projector.logText().contains("the event history restarted"))
                }
                #expect(try await projector.terminate() == 0)
            }
            let reasons = try await rig.reasons()
            #expect(reasons.contains("another record stands where ours was"), "\(reasons)")
            // Some brokers say where a topic ends, others only fail to bring the record.
            let ends = ["the topic ends before the last projected record", "the last projected record cannot be read"]
            #expect(!reasons.isDisjoint(with: ends), "\(reasons)")
            try await rig.expectEverything(of: told)
        }
    }

    /// Which of them notices depends on the broker's answer to a fetch: the running projector, or the next one after a
    /// client library that did not survive it.
    @Test func `is noticed as well when it happens under a running projector`() async throws {
        let seed = RunSeed.take()
        try await ProjectorRig.with("projector-swapped") { rig in
            let first = try await rig.insertHistory(seed: seed, recipients: 40, records: 300)
            let second = try await Reference.history(seed: seed + 1, recipients: 40, records: 900)
            let records = second.produced([rig.blast])
            var projector = try rig.startProjector("a")
            try await rig.produce(records: first.produced([rig.blast]))
            try await rig.waitUntilProjected(first.produced([rig.blast]).count)
            try await rig.topics(["recreate", Topic.deliveryEvents.name, "\(Topic.deliveryEvents.partitions)"])
            try await rig.reconnect()
            try await rig.produce(records: records)
            try await eventually("the new records are projected") {
                if !projector.isRunning { projector = try rig.startProjector("a") }
                let restarts = try await rig.number("SELECT count(*) FROM projector_incident")
                let projected = try await rig.number("SELECT sum(next_offset) FROM projector_partition")
                return restarts == Topic.deliveryEvents.partitions && projected == records.count
            }
            try await rig.waitUntilProjected(records.count)
            try await rig.expectEverything(of: [first, second])
            #expect(try await projector.terminate() == 0)
        }
    }
}

extension ProjectorRig {
    fileprivate func reasons() async throws -> Set<String> {
        Set(try await database.query("SELECT reason FROM projector_incident").map { try $0.string("reason") })
    }

    /// Every telling was folded as far as it can be, and whatever cannot be folded was kept, though offsets repeat.
    fileprivate func expectEverything(of told: [HistoryCase]) async throws {
        var facts: [String: Int64] = [:]
        for history in told {
            for (number, set) in history.facts { facts[number, default: 1] |= set }
        }
        for row in try await database.query("SELECT recipient_no, facts FROM delivery_status") {
            #expect(try row.int("facts") == facts[String(try row.int32("recipient_no"))] ?? 1)
        }
        #expect(try await number("SELECT count(*) FROM dead_letter") == Int64(told.map(\.dead).reduce(0, +)))
        #expect(try await number("SELECT count(*) FROM late_event") == Int64(told.map(\.late).reduce(0, +)))
        #expect(try await HistoryTables(owner: database).violations() == [:])
        try await expectNoGap()
        try await expectTopicAgrees()
    }
}
