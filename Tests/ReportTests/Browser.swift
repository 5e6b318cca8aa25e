import Foundation
import FoundationNetworking
import Synchronization
import TestKit

/// A browser that shows a redirect instead of following it, and keeps no cookies of its own.
///
/// Foundation's asynchronous calls follow every redirect on Linux, whatever their task delegate says.
final class Browser: NSObject, URLSessionDataDelegate {
    private struct State {
        var response: HTTPURLResponse?
        var body = Data()
        var continuation: CheckedContinuation<Void, any Error>?
    }

    private let state = Mutex(State())

    static func request(
        _ method: String, _ url: String, headers: [String: String], body: Data? = nil
    ) async throws -> HTTP.Answer {
        guard let target = URL(string: url) else { throw TestKitError("not a URL: \(url)") }
        var request = URLRequest(url: target, timeoutInterval: 60)
        request.httpMethod = method
        request.httpBody = body
        for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
        let browser = Browser()
        let configuration = URLSessionConfiguration.ephemeral
        configuration.httpCookieStorage = nil
        let session = URLSession(configuration: configuration, delegate: browser, delegateQueue: nil)
        defer { session.finishTasksAndInvalidate() }
        try await withCheckedThrowingContinuation { continuation in
            browser.state.withLock { $0.continuation = continuation }
            session.dataTask(with: request).resume()
        }
        let (response, received) = browser.state.withLock { ($0.response, $0.body) }
        guard let response else { throw TestKitError("no HTTP answer from \(url)") }
        var names: [String: String] = [:]
        for (name, value) in response.allHeaderFields { names["\(name)".lowercased()] = "\(value)" }
        return HTTP.Answer(status: response.statusCode, headers: names, body: received)
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
