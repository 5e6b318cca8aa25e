internal import HTTPTypes
internal import Synchronization

/// Requests of one server by route pattern, method and status. Patterns, known methods and status codes only: a client
/// cannot make new label values.
final class HTTPMetrics: Sendable {
    private struct Key: Hashable {
        let route: String
        let method: String
        let status: Int
    }

    private struct Instruments {
        let requests: Counter
        let seconds: Histogram
    }

    private let server: String
    private let metrics: Metrics
    private let inHand: Gauge
    private let known = Mutex<[Key: Instruments]>([:])
    private static let methods: Set<String> = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

    init(server: String, metrics: Metrics) {
        self.server = server
        self.metrics = metrics
        inHand = metrics.gauge(
            "rollcall_http_requests_in_hand", help: "Requests being answered.", labels: ["server": server])
    }

    static func label(_ method: HTTPRequest.Method) -> String {
        methods.contains(method.rawValue) ? method.rawValue : "other"
    }

    func began() {
        inHand.add(1)
    }

    func ended() {
        inHand.add(-1)
    }

    func answered(route: String, method: HTTPRequest.Method, status: Int, elapsed: Duration) {
        let key = Key(route: route, method: Self.label(method), status: status)
        let instruments = known.withLock { known in
            if let found = known[key] { return found }
            let made = make(key)
            known[key] = made
            return made
        }
        instruments.requests.increment()
        instruments.seconds.observe(elapsed)
    }

    private func make(_ key: Key) -> Instruments {
        Instruments(
            requests: metrics.counter(
                "rollcall_http_requests_total", help: "Requests answered.",
                labels: ["server": server, "route": key.route, "method": key.method, "status": String(key.status)]),
            seconds: metrics.histogram(
                "rollcall_http_request_seconds", help: "Time until the response was ready to be written.",
                labels: ["server": server, "route": key.route]))
    }
}
