import Foundation
import TestKit
import Testing

@Suite(.serialized) struct `A backlog` {
    /// Debug builds, short events: what is measured is that memory does not follow the number of records.
    @Test func `of 200,000 events takes no more memory than one of 20,000`() async throws {
        try await ProjectorRig.with("projector-backlog") { rig in
            try await rig.insertBlast(recipients: 20_000)
            try await rig.fillBacklog(recipients: 20_000, rounds: 1)
            let small = try await rig.peakOfDraining(20_000)
            try await rig.fillBacklog(recipients: 20_000, rounds: 11)
            let large = try await rig.peakOfDraining(240_000)
            print("peak resident memory: \(small >> 10) MiB with 20,000, \(large >> 10) MiB with 220,000 events")
            #expect(small > 1 << 10)
            #expect(large - small < 64 << 10, "\(small) KiB, then \(large) KiB")
            #expect(try await rig.number("SELECT count(*) FROM delivery_log") == 220_000)
        }
    }
}

extension ProjectorRig {
    /// The first `rounds` facts of every recipient, one event each.
    fileprivate func fillBacklog(recipients: Int, rounds: Int) async throws {
        try await topics(["backlog", "rollcall.delivery.events.v1", "\(blast)", "\(recipients)", "\(rounds)"])
    }

    /// Lets one projector work off everything there is; its highest resident memory in KiB.
    fileprivate func peakOfDraining(_ count: Int) async throws -> Int {
        let projector = try startProjector("drain-\(count)", ["ROLLCALL_PROJECTOR_BATCH_MAX": "500"])
        try await waitUntilProjected(count, within: .seconds(600))
        let status = try String(contentsOf: URL(filePath: "/proc/\(projector.pid)/status"), encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
        let peak = try #require(line.split(separator: " ").compactMap { Int($0) }.first)
        #expect(try await projector.terminate() == 0)
        return peak
    }
}
