import Foundation
import Testing

@testable import Runtime

@Suite(.timeLimit(.minutes(10))) struct AdminServerTests {
    private struct Down: Error, CustomStringConvertible {
        let description = "no connection to \"postgres\""
    }

    private func withAdmin(
        _ readiness: Readiness, metrics: Metrics = Metrics(), _ body: @Sendable (TestServer) async throws -> Void
    ) async throws {
        try await TestServer.run(body) { onListening in
            AdminServer(
                listen: .anyPort, readiness: readiness, metrics: metrics, logger: .silent, onListening: onListening)
        }
    }

    @Test func `healthz and readyz say yes when nothing fails`() async throws {
        let readiness = Readiness()
        readiness.add("fine") {}
        try await withAdmin(readiness) { server in
            let health = try await server.send("GET", "/healthz")
            #expect((health.status, health.text) == (200, "ok\n"))
            let ready = try await server.send("GET", "/readyz")
            #expect(ready.status == 200)
            #expect(try ready.json()["ready"] as? Bool == true)
        }
    }

    @Test func `readyz is 503 and names every failing check, the hanging one too`() async throws {
        let readiness = Readiness()
        readiness.add("kafka") {}
        readiness.add("postgres") { throw Down() }
        readiness.add("slow", deadline: .milliseconds(20)) { await Never.ends() }
        try await withAdmin(readiness) { server in
            let answer = try await server.send("GET", "/readyz")
            #expect(answer.status == 503)
            let failing = try #require(try answer.json()["failing"] as? [[String: String]])
            #expect(
                failing == [
                    ["check": "postgres", "reason": "no connection to \"postgres\""],
                    ["check": "slow", "reason": "took longer than 20ms"],
                ])
            let again = try await server.send("GET", "/readyz")
            #expect(again.text.contains("an earlier check is still running"))
            #expect(try await server.send("GET", "/healthz").status == 200)
        }
    }

    @Test func `a loop that does not turn makes the process not ready until it turns`() async throws {
        let (readiness, metrics) = (Readiness(), Metrics())
        let loop = StuckLoop("projector", limit: .milliseconds(1), readiness: readiness, metrics: metrics)
        try await eventually { await readiness.failures().map(\.check) == ["loop projector"] }
        #expect(metrics.exposition().contains("rollcall_loop_turn_age_seconds{loop=\"projector\"}"))
        let patient = Readiness()
        StuckLoop("patient", limit: .seconds(3_600), readiness: patient, metrics: metrics).turn()
        loop.turn()
        #expect(await patient.failures().isEmpty)
    }

    @Test func `metrics are served as Prometheus text`() async throws {
        let metrics = Metrics()
        metrics.counter("n_total", help: "N.").increment()
        try await withAdmin(Readiness(), metrics: metrics) { server in
            let answer = try await server.send("GET", "/metrics")
            #expect(answer.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8")
            #expect(answer.text.contains("# TYPE n_total counter\nn_total 1\n"))
        }
    }
}
