import Foundation
import FoundationNetworking
import Synchronization
import TestKit

/// A mail program or browser that shows a redirect instead of following it.
///
/// Foundation's asynchronous calls follow every redirect on Linux, whatever their task delegate says.
final class Reader: NSObject, URLSessionDataDelegate {
    struct Answer: Sendable {
        let status: Int
        let headers: [String: String]
    }

    private struct State {
        var response: HTTPURLResponse?
        var continuation: CheckedContinuation<Void, any Error>?
    }

    private let state = Mutex(State())

    static func request(_ method: String, _ url: String, headers: [String: String]) async throws -> Answer {
        guard let target = URL(string: url) else { throw TestKitError("not a URL: \(url)") }
        var request = URLRequest(url: target, timeoutInterval: 25)
        request.httpMethod = method
        for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
        let reader = Reader()
        let session = URLSession(configuration: .ephemeral, delegate: reader, delegateQueue: nil)
        defer { session.finishTasksAndInvalidate() }
        try await withCheckedThrowingContinuation { continuation in
            reader.state.withLock { $0.continuation = continuation }
            session.dataTask(with: request).resume()
        }
        guard let response = reader.state.withLock({ $0.response }) else {
            throw TestKitError("no HTTP answer from \(url)")
        }
        var names: [String: String] = [:]
        for (name, value) in response.allHeaderFields { names["\(name)".lowercased()] = "\(value)" }
        return Answer(status: response.statusCode, headers: names)
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

    func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        let continuation = state.withLock { state in
            defer { state.continuation = nil }
            return state.continuation
        }
        if let error { continuation?.resume(throwing: error) } else { continuation?.resume() }
    }
}
