import Foundation
import HTTPTypes
import Hummingbird
import Kafka
import Logging
import Postgres
import Testing

@testable import Runtime

@Suite(.timeLimit(.minutes(10))) struct HTTPServerTests {
    private struct Leak: Error, CustomStringConvertible {
        let description = "parent@example.org"
    }

    private static func routes(_ router: Router<ServiceRequestContext>) {
        router.get("things/:id") { _, context in try context.parameters.require("id") }
        router.put("things/:id") { request, _ in
            var request = request
            return try await String(buffer: request.collectBody(upTo: 10))
        }
        router.get("cached") { _, _ in
            Response(status: .ok, headers: [.cacheControl: "max-age=60", .contentSecurityPolicy: "default-src 'self'"])
        }
        router.get("row") { _, _ -> String in
            throw Problem(
                "bad-row", title: "A row is wrong", status: .unprocessableContent, detail: "Quote the comma.",
                members: ["line": 7, "column": 3, "field": "e-mail", "status": 999])
        }
        router.get("leak") { _, _ -> String in throw Leak() }
        router.get("teapot") { _, _ -> String in throw HTTPError(.badRequest, message: "short and stout") }
        router.get("database") { _, _ -> String in throw PostgresError(.connectionLost, message: "gone") }
        router.get("broker") { _, _ -> String in throw KafkaError(code: .allBrokersDown, reason: "all brokers are down")
        }
        router.get("constraint") { _, _ -> String in
            throw PostgresError(.server, sqlState: "23505", constraint: "blast_pkey", message: "duplicate key")
        }
        router.get("too-large") { _, _ -> String in throw KafkaError(code: .messageTooLarge, reason: "too large") }
        router.get("endless") { _, _ in
            Response(
                status: .ok,
                body: .init { writer in
                    while true {
                        try await writer.write(ByteBuffer(string: "x"))
                        try await Task.sleep(for: .milliseconds(5))
                    }
                })
        }
        router.get("slow") { _, _ -> String in
            try await Task.sleep(for: .seconds(3_600))
            return ""
        }
    }

    private func withServer(
        limits: HTTPLimits = HTTPLimits(), metrics: Metrics = Metrics(), logger: Logger = .silent,
        problemPage: HTTPServerService.ProblemPage? = nil, _ body: @Sendable (TestServer) async throws -> Void
    ) async throws {
        try await TestServer.run(body) { onListening in
            HTTPServerService(
                name: "test", listen: .anyPort, limits: limits, metrics: metrics, logger: logger,
                context: ServiceRequestContext.self, problemPage: problemPage, onListening: onListening,
                routes: Self.routes)
        }
    }

    @Test func `a thrown problem is problem+json with its extra members`() async throws {
        try await withServer { server in
            let answer = try await server.send("GET", "/row")
            #expect(answer.status == 422)
            #expect(answer.header("Content-Type") == "application/problem+json")
            let body = try answer.json()
            #expect(body["type"] as? String == "urn:rollcall:problem:bad-row")
            #expect(body["title"] as? String == "A row is wrong")
            #expect(body["status"] as? Int == 422)
            #expect(body["detail"] as? String == "Quote the comma.")
            #expect(body["line"] as? Int == 7)
            #expect(body["column"] as? Int == 3)
            #expect(body["field"] as? String == "e-mail")
            let id = try #require(answer.header("X-Request-Id"))
            #expect(body["instance"] as? String == "urn:rollcall:request:\(id)")
        }
    }

    @Test func `an unknown path is a 404 problem and a wrong method a 405 problem that says what works`() async throws {
        try await withServer { server in
            let missing = try await server.send("GET", "/nothing/here")
            #expect(missing.status == 404)
            #expect(try missing.json()["type"] as? String == "urn:rollcall:problem:not-found")
            let wrong = try await server.send("DELETE", "/things/5")
            #expect(wrong.status == 405)
            #expect(wrong.header("Allow") == "GET, HEAD, PUT")
            #expect(try wrong.json()["type"] as? String == "urn:rollcall:problem:method-not-allowed")
        }
    }

    @Test func `an unexpected error is a 500 problem without internals, in the answer and in the log`() async throws {
        let log = RecordedLog()
        try await withServer(logger: log.logger(.info)) { server in
            let answer = try await server.send("GET", "/leak?who=parent@example.org")
            #expect(answer.status == 500)
            #expect(try answer.json()["type"] as? String == "urn:rollcall:problem:internal")
            #expect(!answer.text.contains("example.org"))
        }
        let text = log.text
        #expect(text.contains("request failed"))
        #expect(text.contains("\"error.type\":\"Leak\""))
        #expect(text.contains("\"http.route\":\"/leak\""))
        #expect(!text.contains("example.org"))
    }

    @Test(arguments: ["/database", "/broker"])
    func `a dependency that is away is 503 with Retry-After`(path: String) async throws {
        try await withServer { server in
            let answer = try await server.send("GET", path)
            #expect(answer.status == 503)
            #expect(answer.header("Retry-After") == "5")
            #expect(try answer.json()["type"] as? String == "urn:rollcall:problem:unavailable")
        }
    }

    @Test(arguments: ["/constraint", "/too-large"])
    func `a refusal that a retry cannot change is 500, not 503`(path: String) async throws {
        try await withServer { server in
            let answer = try await server.send("GET", path)
            #expect(answer.status == 500)
            #expect(answer.header("Retry-After") == nil)
            #expect(!answer.text.contains("blast_pkey"))
        }
    }

    @Test func `the framework's own errors are problems too`() async throws {
        try await withServer { server in
            let teapot = try await server.send("GET", "/teapot")
            #expect(teapot.status == 400)
            #expect(try teapot.json()["detail"] as? String == "short and stout")
            let large = try await server.send("PUT", "/things/5", body: "more than ten bytes")
            #expect(large.status == 413)
            #expect(try large.json()["type"] as? String == "urn:rollcall:problem:too-large")
        }
    }

    @Test func `a handler past its deadline is cancelled and answered for`() async throws {
        var limits = HTTPLimits()
        limits.deadlineOverride = { $0.path == "/slow" ? .milliseconds(50) : nil }
        try await withServer(limits: limits) { server in
            let answer = try await server.send("GET", "/slow")
            #expect(answer.status == 503)
            #expect(try (answer.json()["detail"] as? String)?.contains("longer") == true)
        }
    }

    @Test func `a transfer past its deadline loses its connection`() async throws {
        var limits = HTTPLimits()
        // Longer than a busy machine takes for the quick answer.
        limits.transferDeadline = .seconds(1)
        try await withServer(limits: limits) { server in
            await #expect(throws: (any Error).self) { try await server.send("GET", "/endless") }
            let quick = try await server.send("GET", "/things/5")
            #expect(quick.status == 200)
        }
    }

    @Test func `every answer carries the security headers unless the route sets its own`() async throws {
        try await withServer { server in
            for path in ["/things/5", "/row", "/nothing"] {
                let answer = try await server.send("GET", path)
                #expect(answer.header("X-Content-Type-Options") == "nosniff")
                #expect(answer.header("Content-Security-Policy") == "default-src 'none'; frame-ancestors 'none'")
                #expect(answer.header("Referrer-Policy") == "no-referrer")
                #expect(answer.header("Cache-Control") == "no-store")
            }
            let cached = try await server.send("GET", "/cached")
            #expect(cached.header("Cache-Control") == "max-age=60")
            #expect(cached.header("Content-Security-Policy") == "default-src 'self'")
        }
    }

    @Test func `requests are counted by route pattern, known method and status`() async throws {
        let metrics = Metrics()
        try await withServer(metrics: metrics) { server in
            for path in ["/things/1", "/things/2", "/x1", "/x2"] { _ = try await server.send("GET", path) }
            _ = try await server.send("PROPFIND", "/things/1")
        }
        let text = metrics.exposition()
        func line(_ method: String, _ route: String, _ status: Int, _ count: Int) -> String {
            "rollcall_http_requests_total"
                + "{method=\"\(method)\",route=\"\(route)\",server=\"test\",status=\"\(status)\"} \(count)\n"
        }
        #expect(text.contains(line("GET", "/things/{id}", 200, 2)))
        #expect(text.contains(line("GET", "NotFound", 404, 2)))
        #expect(text.contains(line("other", "NotFound", 405, 1)))
        #expect(text.contains("rollcall_http_requests_in_hand{server=\"test\"} 0\n"))
    }

    @Test func `HEAD answers like GET without a body, also for problems`() async throws {
        try await withServer { server in
            let found = try await server.send("HEAD", "/things/5")
            #expect((found.status, found.text) == (200, ""))
            let missing = try await server.send("HEAD", "/nothing")
            #expect((missing.status, missing.text) == (404, ""))
        }
    }

    @Test func `a service may show problems as pages`() async throws {
        try await withServer(
            problemPage: { problem, _ in
                Response(
                    status: problem.status, headers: [.contentType: "text/html"],
                    body: .init(byteBuffer: ByteBuffer(string: "<p>no</p>")))
            },
            { server in
                let answer = try await server.send("GET", "/nothing")
                #expect((answer.status, answer.text) == (404, "<p>no</p>"))
                #expect(answer.header("X-Content-Type-Options") == "nosniff")
            })
    }

    @Test func `a port in use is named in the error`() async throws {
        try await withServer { server in
            let second = HTTPServerService(
                name: "second", listen: ListenAddress(host: "127.0.0.1", port: server.port), metrics: Metrics(),
                logger: .silent, context: ServiceRequestContext.self, routes: Self.routes)
            let error = await #expect(throws: ListenFailure.self) { try await second.run() }
            #expect(error?.description.contains("127.0.0.1:\(server.port)") == true)
        }
    }
}
