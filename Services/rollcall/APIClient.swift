import Foundation
import FoundationNetworking

/// Rollcall's public HTTP API, as any client uses it.
struct APIClient: Sendable {
    struct Answer: Sendable {
        let status: Int
        let headers: [String: String]
        let body: Data

        /// The body as JSON.
        func decoded<Value: Decodable>(_ type: Value.Type) throws -> Value {
            do {
                return try JSONDecoder().decode(type, from: body)
            } catch {
                throw Failure(
                    "the server's answer (HTTP \(status)) is not what this tool knows; are the versions the same?")
            }
        }
    }

    private let base: URL
    private let key: String
    private let session: URLSession

    /// - Parameters:
    ///   - base: such as `http://127.0.0.1:8080`.
    ///   - key: nil takes ROLLCALL_API_KEY.
    init(base: String, key: String?) throws {
        guard let url = URL(string: base), let scheme = url.scheme, ["http", "https"].contains(scheme), url.host != nil
        else { throw Failure("\(Terminal.plain(base)) is no address such as http://127.0.0.1:8080", code: 64) }
        self.base = url
        self.key = try key ?? Surroundings().required("ROLLCALL_API_KEY", "the API key to use; or give --key")
        let configuration = URLSessionConfiguration.ephemeral
        configuration.timeoutIntervalForRequest = 900
        configuration.httpCookieStorage = nil
        session = URLSession(configuration: configuration)
    }

    func get(_ path: String, query: [String: String] = [:], headers: [String: String] = [:]) async throws -> Answer {
        try await send(request("GET", path, query: query, headers: headers))
    }

    func post(_ path: String, json: Data? = nil, headers: [String: String] = [:]) async throws -> Answer {
        var request = try request("POST", path, headers: headers)
        if let json {
            request.httpBody = json
            request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        }
        return try await send(request)
    }

    func delete(_ path: String) async throws -> Answer { try await send(request("DELETE", path)) }

    /// Sends a file as it is read.
    func put(
        _ path: String, file: URL, type: String, headers: [String: String] = [:]
    ) async throws -> Answer {
        var request = try request("PUT", path, headers: headers)
        request.setValue(type, forHTTPHeaderField: "Content-Type")
        do {
            let (data, response) = try await session.upload(for: request, fromFile: file)
            return try Self.answer(data, response)
        } catch let error as URLError {
            throw unreachable(error)
        }
    }

    func put(_ path: String, json: Data) async throws -> Answer {
        try await put(path, data: json, type: "application/json", headers: [:])
    }

    func put(_ path: String, data: Data, type: String, headers: [String: String]) async throws -> Answer {
        var request = try request("PUT", path, headers: headers)
        request.setValue(type, forHTTPHeaderField: "Content-Type")
        request.httpBody = data
        return try await send(request)
    }

    /// Gives each line of the answer to `body` as it arrives.
    func lines(_ path: String, _ body: (Data) throws -> Void) async throws {
        let stream = AnswerStream()
        let session = URLSession(configuration: session.configuration, delegate: stream, delegateQueue: nil)
        defer { session.invalidateAndCancel() }
        session.dataTask(with: try request("GET", path)).resume()
        var cutter = LineCutter()
        var refused: (head: URLResponse, body: Data)?
        do {
            for try await part in stream.parts {
                switch part {
                case .head(let head):
                    if (head as? HTTPURLResponse)?.statusCode ?? 400 >= 400 { refused = (head, Data()) }
                case .octets(let octets):
                    if refused == nil {
                        for line in cutter.add(octets) { try body(line) }
                    } else {
                        refused?.body.append(octets)
                    }
                }
            }
        } catch let error as URLError {
            throw unreachable(error)
        }
        if let refused { _ = try Self.answer(refused.body, refused.head) }
        if let last = cutter.last() { try body(last) }
    }

    private func request(
        _ method: String, _ path: String, query: [String: String] = [:], headers: [String: String] = [:]
    ) throws -> URLRequest {
        var url = base.appending(path: path)
        if !query.isEmpty {
            url.append(queryItems: query.sorted { $0.key < $1.key }.map { URLQueryItem(name: $0.key, value: $0.value) })
        }
        var request = URLRequest(url: url)
        request.httpMethod = method
        request.setValue("Bearer \(key)", forHTTPHeaderField: "Authorization")
        for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
        return request
    }

    private func send(_ request: URLRequest) async throws -> Answer {
        do {
            let (data, response) = try await session.data(for: request)
            return try Self.answer(data, response)
        } catch let error as URLError {
            throw unreachable(error)
        }
    }

    private func unreachable(_ error: URLError) -> Failure {
        Failure("\(base.absoluteString) does not answer: \(error.localizedDescription)", code: Failure.unavailable)
    }

    private static func answer(_ data: Data, _ response: URLResponse) throws -> Answer {
        guard let response = response as? HTTPURLResponse else {
            throw Failure("the server did not answer in HTTP", code: Failure.unavailable)
        }
        var headers: [String: String] = [:]
        for (name, value) in response.allHeaderFields { headers["\(name)".lowercased()] = "\(value)" }
        let answer = Answer(status: response.statusCode, headers: headers, body: data)
        guard response.statusCode >= 400 else { return answer }
        throw refusal(answer)
    }

    private struct Problem: Decodable {
        let title: String?
        let detail: String?
    }

    /// The server's problem in its own words.
    private static func refusal(_ answer: Answer) -> Failure {
        let problem = try? JSONDecoder().decode(Problem.self, from: answer.body)
        let words = [problem?.title ?? "HTTP \(answer.status)", problem?.detail].compactMap(\.self).joined(
            separator: ": ")
        let code =
            switch answer.status {
            case 401, 403: Failure.notPermitted
            case 502, 503, 504: Failure.unavailable
            default: Failure.refused
            }
        return Failure(Terminal.plain(words), code: code)
    }
}
