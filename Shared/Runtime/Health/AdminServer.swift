internal import HTTPTypes
internal import Hummingbird
public import Logging
public import ServiceLifecycle

/// The operators' door: `/healthz` (the process runs), `/readyz` (it can work; 503 names the failing checks) and
/// `/metrics` (Prometheus text).
///
/// It has no authentication and shows no payloads; bind it to a private address.
public struct AdminServer: Service {
    private let server: HTTPServerService

    public init(
        listen: ListenAddress, readiness: Readiness, metrics: Metrics = .shared, logger: Logger,
        onListening: @escaping @Sendable (Int) -> Void = { _ in }
    ) {
        var limits = HTTPLimits()
        limits.maximumConnections = 64
        limits.requestDeadline = .seconds(10)
        limits.accessLogLevel = .debug
        server = HTTPServerService(
            name: "admin", listen: listen, limits: limits, metrics: metrics, logger: logger,
            context: ServiceRequestContext.self, onListening: onListening
        ) { router in
            router.get("healthz") { _, _ in
                Response(
                    status: .ok, headers: [.contentType: "text/plain; charset=utf-8"],
                    body: .init(byteBuffer: ByteBuffer(string: "ok\n")))
            }
            router.get("readyz") { _, _ in
                let failures = await readiness.failures()
                return Response(
                    status: failures.isEmpty ? .ok : .serviceUnavailable,
                    headers: [.contentType: "application/json"],
                    body: .init(byteBuffer: ByteBuffer(bytes: Self.body(failures))))
            }
            router.get("metrics") { _, _ in
                Response(
                    status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
                    body: .init(byteBuffer: ByteBuffer(string: metrics.exposition())))
            }
        }
    }

    public func run() async throws {
        try await server.run()
    }

    private static func body(_ failures: [Readiness.Failure]) -> [UInt8] {
        var json = JSONWriter()
        json.member("ready", failures.isEmpty)
        json.member(
            "failing",
            json: JSONWriter.array(
                failures.map { failure in
                    var item = JSONWriter()
                    item.member("check", failure.check)
                    item.member("reason", failure.reason)
                    return item.finish()
                }))
        return json.finish() + [0x0A]
    }
}
