import Delivery
import Kafka
import Logging
import Postgres
import Runtime
import TestKit
import Testing

@testable import blacklist_guard

@Suite struct `Publishing decisions` {
    @Test func `while the broker is away no row is locked`() async throws {
        let district = try await GuardRig.shared.value.district()
        let blast = try await district.blast([.without])
        try await district.screen(blast)
        let nowhere = KafkaConfiguration(bootstrapServers: "127.0.0.1:1", clientID: "guard-tests")
        let producer = try KafkaProducer(nowhere, messageTimeout: .seconds(10))
        var configuration = district.rig.roleConfiguration
        configuration.applicationName = "reporting-test"
        let pool = PostgresPool(configuration, size: 1)
        let metrics = Metrics()
        let reporter = ChunkReporter(
            blastClass: .general, pool: pool, producer: producer, wake: Wake(),
            metrics: GuardMetrics(metrics), interval: .seconds(1),
            stuck: StuckLoop("report", readiness: Readiness(), metrics: metrics), logger: Logger(label: "test"))
        async let publishing = reporter.publish()
        try await eventually("the decisions are read, and being published") {
            try await !district.rig.owner.query(
                """
                SELECT FROM pg_stat_activity
                 WHERE application_name = 'reporting-test' AND state LIKE 'idle%'
                   AND query LIKE 'SELECT d.* FROM unnest%'
                """
            ).isEmpty
        }
        _ = try await district.rig.owner.query(
            "SELECT FROM screened_chunk WHERE blast_id = $1 FOR UPDATE NOWAIT", [.uuid((blast.high, blast.low))])
        await producer.close(timeout: .zero)
        do {
            _ = try await publishing
            Issue.record("published without a broker")
        } catch {
            #expect(error is KafkaError)
        }
        await pool.close(grace: .seconds(2))
        let rows = try await district.rig.owner.query(
            "SELECT reported_at IS NULL AS open FROM screened_chunk WHERE blast_id = $1",
            [.uuid((blast.high, blast.low))])
        #expect(try rows[0].bool("open"))
    }
}
