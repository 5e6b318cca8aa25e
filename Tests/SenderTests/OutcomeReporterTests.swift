import Contracts
import Delivery
import Kafka
import Logging
import Mail
import Postgres
import Runtime
import SMTP
import TestKit
import Testing

@testable import sender

@Suite("Reports of outcomes")
struct OutcomeReporterTests {
    @Test func `what counts as reported has one row that answers for it until the broker has the facts`() async throws {
        let stack = try await LocalStack.start("reports")
        try await stack.createTopics()
        let rig = try await DispatchRig.make("reports", on: stack)
        let producer = try KafkaProducer(
            KafkaConfiguration(bootstrapServers: stack.kafkaBootstrap, clientID: "reports"),
            messageTimeout: .seconds(15))
        let metrics = SenderMetrics(Metrics())
        let reporter = OutcomeReporter(database: rig.dispatch, producer: producer, metrics: metrics)
        let slots = HandOverSlots(capacity: 3)
        let writer = OutcomeWriter(
            database: rig.dispatch, slots: slots, reporter: reporter, logger: Logger(label: "test"))
        let blast = try await rig.blast(["a", "b", "c"])
        let verdicts = try await rig.verdicts(DispatchWireTests.entries(rig, ["a", "b", "c"]), blast)
        #expect(await slots.acquire(upTo: 3, isEmergency: false) == 3)
        await withDiscardingTaskGroup { group in
            for (verdict, outcome) in zip(verdicts, [SettledOutcome.accepted, .rejected, .putBack]) {
                let wired = Self.wired(verdict, blast)
                let settlement = outcome.settlement(wired.delivery, 1, rig.lease)
                group.addTask { await writer.settle(settlement, of: wired) }
            }
        }
        #expect(slots.inUse == 0)
        #expect(try await Self.open(rig) == 0, "nothing is left to the rows")
        try await eventually("the broker has both facts") { metrics.factsReported.value == 2 }
        #expect(try await Self.reports(rig) >= 1)
        try await reporter.forgetAcknowledged()
        #expect(try await Self.reports(rig) == 0)
        let published = try await stack.readAll(.deliveryEvents).map {
            try DeliveryEvent(value: $0.value ?? [], header: $0.header)
        }.filter { $0.delivery.blast == blast }
        // The same events as the rows would give.
        _ = try await rig.owner.query("UPDATE attempt SET reported_at = NULL")
        let facts = FactPublisher(database: rig.dispatch, producer: producer, metrics: metrics, reporter: reporter)
        _ = try await facts.publish()
        let again = try await stack.readAll(.deliveryEvents).map {
            try DeliveryEvent(value: $0.value ?? [], header: $0.header)
        }.filter { $0.delivery.blast == blast }
        #expect(published.count == 2 && again.count == 4 && Set(again) == Set(published))
        await producer.close(timeout: .seconds(3))
        await rig.close()
        try await stack.stop()
    }

    @Test func `what a dead sender left behind, and what a settle did not change, goes back to its rows`() async throws
    {
        let rig = try await DispatchRig.make("left")
        let blast = try await rig.blast(["a", "b", "c"])
        _ = try await rig.verdicts(DispatchWireTests.entries(rig, ["a", "b", "c"]), blast)
        try await rig.settle(blast, 3, .accepted)
        let settlements = (1...3).map { number in
            SettledOutcome.accepted.settlement(
                DeliveryID(blast: blast, recipientNumber: Int32(number)), 1, rig.lease)
        }
        let written = try await OutcomeStatement(batch: settlements, reports: true).write(rig.dispatch)
        #expect(written.settled == 2 && written.report != nil)
        #expect(try await Self.open(rig) == 1)
        try await OutcomeReporter.takeBack(rig.dispatch)
        #expect(try await Self.reports(rig) == 1, "somebody may be at it")
        _ = try await rig.owner.query("UPDATE attempt_report SET written_at = written_at - interval '6 seconds'")
        try await OutcomeReporter.takeBack(rig.dispatch)
        #expect(try await Self.reports(rig) == 0)
        #expect(try await Self.open(rig) == 3)
        await rig.close()
    }

    @Test func `while the broker does not answer, outcomes are left to their rows, and slots come back`() async throws {
        let rig = try await DispatchRig.make("no_broker")
        let producer = try KafkaProducer(
            KafkaConfiguration(bootstrapServers: "127.0.0.1:1", clientID: "none"), messageTimeout: .seconds(2))
        let metrics = SenderMetrics(Metrics())
        let reporter = OutcomeReporter(database: rig.dispatch, producer: producer, metrics: metrics)
        let slots = HandOverSlots(capacity: 2)
        let writer = OutcomeWriter(
            database: rig.dispatch, slots: slots, reporter: reporter, logger: Logger(label: "test"))
        let blast = try await rig.blast(["a", "b"])
        let verdicts = try await rig.verdicts(DispatchWireTests.entries(rig, ["a", "b"]), blast)
        func settle(_ verdict: WireVerdict) async {
            let wired = Self.wired(verdict, blast)
            await writer.settle(SettledOutcome.accepted.settlement(wired.delivery, 1, rig.lease), of: wired)
        }
        #expect(await slots.acquire(upTo: 2, isEmergency: false) == 2)
        await settle(verdicts[0])
        #expect(slots.inUse == 1, "nobody waited for the broker")
        try await eventually("the broker is found to be slow") { await !reporter.isOpen }
        await settle(verdicts[1])
        #expect(try await Self.open(rig) == 1)
        #expect(metrics.factsReported.value == 0)
        await producer.close(timeout: .seconds(3))
        await rig.close()
    }

    private static func wired(_ verdict: WireVerdict, _ blast: BlastID) -> WiredMessage {
        WiredMessage(
            delivery: DeliveryID(blast: blast, recipientNumber: verdict.recipientNumber), district: DistrictID(7),
            attempt: verdict.attempt, deferrals: 0,
            message: ComposedMessage(
                envelope: SMTPEnvelope(sender: "b@bounce.example", recipient: "a@school.example"), octets: []),
            wiredAt: .now, wireAtMicroseconds: verdict.wireAtMicroseconds)
    }

    private static func open(_ rig: DispatchRig) async throws -> Int64 {
        try await rig.owner.query("SELECT count(*) AS n FROM attempt WHERE fact IS NOT NULL AND reported_at IS NULL")[0]
            .int("n")
    }

    private static func reports(_ rig: DispatchRig) async throws -> Int64 {
        try await rig.owner.query("SELECT count(*) AS n FROM attempt_report")[0].int("n")
    }
}
