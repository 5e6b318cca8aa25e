import Delivery
import Logging
import Postgres
import Runtime
import TestKit
import Testing

@testable import sender

@Suite("Emergency without a guard")
struct DispatchEmergencyTests {
    @Test func `an emergency is sent without the guard once its patience is over, a general blast is not`() async throws
    {
        let rig = try await DispatchRig.make("no_guard")
        _ = try await rig.owner.query("DELETE FROM guard_progress")
        try await DispatchWireTests.suppress(rig)
        let emergency = try await rig.blast(["a", "bounce", "a", "everything", ""], isEmergency: true)
        let general = try await rig.blast(["b"])
        try await rig.change(
            "UPDATE recipient SET address_hash = NULL, fault = 6 WHERE blast_id = $1 AND address = ''", emergency)
        _ = try await rig.owner.query("UPDATE chunk SET state = 'requested'")
        let metrics = SenderMetrics(Metrics())
        let patience = EmergencyPatience(
            database: rig.dispatch, patience: .seconds(30), metrics: metrics, logger: Logger(label: "test"))
        _ = try await rig.owner.query("UPDATE blast SET send_requested_at = now()")
        try await patience.clearOverdue()
        let queue = ChunkQueue(database: rig.dispatch)
        #expect(try await queue.take(rig.lease, onlyEmergency: false) == nil)

        _ = try await rig.owner.query("UPDATE blast SET send_requested_at = now() - interval '31 seconds'")
        try await patience.clearOverdue()
        #expect(metrics.emergencyUnscreened.value == 1)
        let chunk = try #require(try await queue.take(rig.lease, onlyEmergency: false))
        #expect(chunk.blast == emergency)
        #expect(try await queue.take(rig.lease, onlyEmergency: false) == nil, "the general blast waits for the guard")

        let recipients = try await queue.recipients(of: chunk, from: 1, limit: 10)
        #expect(recipients.map(\.number) == [1, 2, 3, 4])
        #expect(recipients.map(\.original) == [nil, nil, 1, nil])
        let entries = recipients.map { recipient in
            rig.entry(
                recipient.number, recipient.address,
                fault: recipient.original.map { CompositionFault(fact: .duplicate, reason: "same as \($0)") })
        }
        #expect(try await !queue.finish(chunk, rig.lease))
        #expect(try await rig.verdicts(entries, emergency).map(\.fact) == [nil, .blockedBounce, .duplicate, nil])
        #expect(try await queue.finish(chunk, rig.lease))
        #expect(try await rig.attempts(general).isEmpty)
        await rig.close()
    }

    @Test func `the guard is asked for what was cleared without it, once`() async throws {
        let rig = try await DispatchRig.make("asked_later")
        let blast = try await rig.blast(["a"], isEmergency: true)
        func unasked() async throws -> Int {
            try await rig.dispatch.query(ChunkPublisher.unreported, [.int(10), .int(10_000_000)]).count
        }
        #expect(try await unasked() == 1)
        try await rig.change(
            "UPDATE chunk SET requested_reported_at = now() - interval '1 day' WHERE blast_id = $1", blast)
        #expect(try await unasked() == 0)
        await rig.close()
    }
}
