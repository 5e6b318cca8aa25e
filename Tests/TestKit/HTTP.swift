public import Foundation
import FoundationNetworking
import Synchronization

/// Plain HTTP requests over a real socket. A redirect is an answer and is not followed; no cookies are kept.
public enum HTTP {
    public struct Answer: Sendable {
        public let status: Int
        public let headers: [String: String]
        public let body: Data
        public init(status: Int, headers: [String: String], body: Data) {
            self.status = status
            self.headers = headers
            self.body = body
        }

        public var text: String { String(decoding: body, as: UTF8.self) }

        public func json() throws -> [String: Any] {
            guard let object = try JSONSerialization.jsonObject(with: body) as? [String: Any] else {
                throw TestKitError("not a JSON object: \(text.prefix(300))")
            }
            return object
        }
    }

    /// - Parameter headers: names and values as sent.
    public static func request(
        _ method: String, _ url: String, headers: [String: String] = [:], body: Data? = nil,
        timeout: TimeInterval = 60
    ) async throws -> Answer {
        guard let target = URL(string: url) else { throw TestKitError("not a URL: \(url)") }
        var request = URLRequest(url: target, timeoutInterval: timeout)
        request.httpMethod = method
        request.httpBody = body
        for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
        let exchange = Exchange()
        let configuration = URLSessionConfiguration.ephemeral
        configuration.httpCookieStorage = nil
        let session = URLSession(configuration: configuration, delegate: exchange, delegateQueue: nil)
        defer { session.finishTasksAndInvalidate() }
        let (response, received) = try await exchange.run(session.dataTask(with: request))
        guard let response else { throw TestKitError("no HTTP answer from \(url)") }
        var names: [String: String] = [:]
        for (name, value) in response.allHeaderFields { names["\(name)".lowercased()] = "\(value)" }
        return Answer(status: response.statusCode, headers: names, body: received)
    }

    /// One request and its answer. Foundation's asynchronous calls follow every redirect on Linux, whatever their task
    /// delegate says; the session's own delegate is asked.
    private final class Exchange: NSObject, URLSessionDataDelegate {
        private struct State {
            var response: HTTPURLResponse?
            var body = Data()
            var continuation: CheckedContinuation<Void, any Error>?
        }

        private let state = Mutex(State())

        func run(_ task: URLSessionDataTask) async throws -> (HTTPURLResponse?, Data) {
            try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    state.withLock { $0.continuation = continuation }
                    task.resume()
                }
            } onCancel: {
                task.cancel()
            }
            return state.withLock { ($0.response, $0.body) }
        }

        func urlSession(
            _ session: URLSession, task: URLSessionTask, willPerformHTTPRedirection response: HTTPURLResponse,
            newRequest request: URLRequest, completionHandler: @escaping @Sendable (URLRequest?) -> Void
        ) {
            state.withLock { $0.response = response }
            completionHandler(nil)
        }

        func urlSession(
            _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
            completionHandler: @escaping @Sendable (URLSession.ResponseDisposition) -> Void
        ) {
            state.withLock { $0.response = response as? HTTPURLResponse }
            completionHandler(.allow)
        }

        func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
            state.withLock { $0.body.append(data) }
        }

        func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
            let continuation = state.withLock { state in
                defer { state.continuation = nil }
                return state.continuation
            }
            if let error { continuation?.resume(throwing: error) } else { continuation?.resume() }
        }
    }
}
