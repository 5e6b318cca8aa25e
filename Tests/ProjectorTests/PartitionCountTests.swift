import Contracts
import Delivery
import Postgres
import TestKit
import Testing

/// A topic with another number of partitions than its version has: keys would move.
@Suite(.serialized) struct `A topic with another number of partitions` {
    @Test func `is refused with a reason, nothing is projected from it, and work goes on when it is right again`()
        async throws
    {
        try await ProjectorRig.with("projector-partitions") { rig in
            try await rig.insertBlast(recipients: 8)
            let partitions = Topic.deliveryEvents.partitions
            try await rig.topics(["recreate", Topic.deliveryEvents.name, "\(partitions + 1)"])
            try await rig.reconnect()
            try await rig.produce((1...8).map { rig.event($0, .sent, "sent-\($0)") })
            let projector = try rig.startProjector("only")
            try await eventually("the projector says what is wrong") {
                try projector.logText().contains("has \(partitions + 1) partitions, this version needs \(partitions)")
            }
            #expect(try await rig.number("SELECT count(*) FROM projector_partition") == 0)
            #expect(try await rig.number("SELECT count(*) FROM delivery_log") == 0)
            #expect(projector.isRunning)

            try await rig.topics(["recreate", Topic.deliveryEvents.name, "\(partitions)"])
            try await rig.reconnect()
            try await rig.produce((1...8).map { rig.event($0, .sent, "sent-\($0)") })
            try await rig.waitUntilProjected(8)
            #expect(try await rig.number("SELECT count(*) FROM delivery_status WHERE facts = 1048577") == 8)
            #expect(try await projector.terminate() == 0)
        }
    }
}
