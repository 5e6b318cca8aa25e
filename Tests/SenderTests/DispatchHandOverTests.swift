import Delivery
import Logging
import NIOCore
import NIOPosix
import Postgres
import Runtime
import SMTP
import TestKit
import Testing

@testable import sender

@Suite("Hand-over")
struct DispatchHandOverTests {
    @Test func `a relay that takes connections and says nothing holds further messages back`() async throws {
        let rig = try await DispatchRig.make("silent_relay")
        let blast = try await rig.blast(["a"])
        _ = try await rig.verdicts([rig.entry(1, "a")], blast)
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(server.localAddress?.port)
        let logger = Logger(label: "test")
        let slots = HandOverSlots(capacity: 1)
        var smtp = SMTPConfiguration(host: "127.0.0.1", port: port, heloName: "test.example")
        smtp.maxConnections = 1
        let metrics = SenderMetrics(Metrics())
        let relays = Relays(
            [
                Way(
                    RelayConfiguration(name: "silent", weight: 1, smtp: smtp),
                    eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
            ], slots: slots, metrics: metrics, logger: logger)
        let handOver = HandOver(
            relays: relays, writer: OutcomeWriter(database: rig.dispatch, slots: slots, reporter: nil, logger: logger),
            schedule: RetrySchedule(delays: [.seconds(60)]), dotDeadline: .milliseconds(300),
            rates: SendRates(database: rig.dispatch, ceilings: [:]), metrics: metrics)
        #expect(await slots.acquire(upTo: 1, isEmergency: false) == 1)
        handOver.begin(
            WiredMessage(
                delivery: DeliveryID(blast: blast, recipientNumber: 1), district: DistrictID(7), attempt: 1,
                deferrals: 0,
                message: ComposedMessage(
                    envelope: SMTPEnvelope(sender: "b@bounce.example", recipient: "a@school.example"), octets: []),
                wiredAt: .now, wireAtMicroseconds: 0))
        #expect(await slots.drain(within: .seconds(20)))
        #expect(relays.troubled == ["silent"] && !relays.isUsable)
        #expect(try await rig.attempts(blast) == ["1/1 requeued due"])
        await relays.close()
        try await server.close()
        await rig.close()
    }
}
