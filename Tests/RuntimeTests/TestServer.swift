import Foundation
import FoundationNetworking
import Logging
import ServiceLifecycle
import Synchronization
import Testing

@testable import Runtime

extension ListenAddress {
    static let anyPort = ListenAddress(host: "127.0.0.1", port: 0)
}

extension Logger {
    static let silent = Logger(label: "silent") { _ in SwiftLogNoOpLogHandler() }
}

/// The records a logger wrote, as their JSON lines.
final class RecordedLog: Sendable {
    private let bytes = Mutex<[UInt8]>([])

    func logger(_ level: Logger.Level) -> Logger {
        let sink = LogSink { [self] bytes in self.bytes.withLock { $0 += bytes } }
        self.sink.withLock { $0 = sink }
        return Logger(label: "recorded") { _ in JSONLogHandler(service: "test", logLevel: level, sink: sink) }
    }

    private let sink = Mutex<LogSink?>(nil)

    var text: String {
        sink.withLock { $0 }?.drain()
        return bytes.withLock { String(decoding: $0, as: UTF8.self) }
    }
}

extension LogSink {
    /// Returns when everything is written, also where that takes longer than a program waits at its end.
    func drain() { for _ in 1...60 { flush() } }
}

/// A server under test on a free port of the loopback interface.
struct TestServer: Sendable {
    struct Answer {
        let status: Int
        let headers: [String: String]
        let text: String

        func header(_ name: String) -> String? { headers[name.lowercased()] }

        func json() throws -> [String: Any] {
            try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        }
    }

    let port: Int
    private let session: URLSession

    /// Starts the server, runs the body, then stops it gracefully.
    static func run(
        _ body: @Sendable (TestServer) async throws -> Void, make: (@escaping @Sendable (Int) -> Void) -> any Service
    ) async throws {
        let (ports, portSink) = AsyncStream.makeStream(of: Int.self)
        let service = make { portSink.yield($0) }
        let group = ServiceGroup(configuration: .init(services: [service], logger: .silent))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                defer { portSink.finish() }
                try await group.run()
            }
            let port = try #require(await ports.first { _ in true })
            let server = TestServer(port: port, session: URLSession(configuration: .ephemeral))
            let result = await Result(catching: body, with: server)
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
            try result.get()
        }
    }

    func send(_ method: String, _ path: String, body: String? = nil) async throws -> Answer {
        var request = URLRequest(url: try #require(URL(string: "http://127.0.0.1:\(port)\(path)")))
        request.httpMethod = method
        request.httpBody = body.map { Data($0.utf8) }
        let (data, response) = try await session.data(for: request)
        let http = try #require(response as? HTTPURLResponse)
        var headers: [String: String] = [:]
        for (name, value) in http.allHeaderFields { headers["\(name)".lowercased()] = "\(value)" }
        return Answer(status: http.statusCode, headers: headers, text: String(decoding: data, as: UTF8.self))
    }
}

extension Result where Success == Void, Failure == any Error {
    init(catching body: @Sendable (TestServer) async throws -> Void, with server: TestServer) async {
        do {
            try await body(server)
            self = .success(())
        } catch {
            self = .failure(error)
        }
    }
}

/// Waits until the condition holds, at most two minutes.
func eventually(_ condition: @Sendable () async -> Bool, sourceLocation: SourceLocation = #_sourceLocation) async throws
{
    let deadline = ContinuousClock.now + .seconds(120)
    while ContinuousClock.now < deadline {
        if await condition() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("the condition did not come true in 120 s", sourceLocation: sourceLocation)
}

extension Never {
    /// Hangs for ever, deaf to cancellation.
    static func ends() async {
        await Task { try? await Task.sleep(for: .seconds(3_600)) }.value
    }
}
