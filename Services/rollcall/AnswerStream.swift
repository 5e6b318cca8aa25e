import Foundation
import FoundationNetworking

/// Gives an answer's octets on as they arrive.
final class AnswerStream: NSObject, URLSessionDataDelegate, Sendable {
    enum Part: Sendable {
        case head(URLResponse)
        case octets(Data)
    }

    let parts: AsyncThrowingStream<Part, any Error>
    private let continuation: AsyncThrowingStream<Part, any Error>.Continuation

    override init() {
        (parts, continuation) = AsyncThrowingStream.makeStream()
        super.init()
    }

    func urlSession(
        _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
        completionHandler: @escaping @Sendable (URLSession.ResponseDisposition) -> Void
    ) {
        continuation.yield(.head(response))
        completionHandler(.allow)
    }

    func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
        continuation.yield(.octets(data))
    }

    func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        continuation.finish(throwing: error)
    }
}

/// Cuts octets into lines, wherever they were cut on their way.
struct LineCutter {
    private var rest = Data()

    /// The lines that end in `octets`, without their ends.
    mutating func add(_ octets: Data) -> [Data] {
        var lines: [Data] = []
        var start = octets.startIndex
        while let end = octets[start...].firstIndex(of: UInt8(ascii: "\n")) {
            rest.append(octets[start..<end])
            if !rest.isEmpty { lines.append(rest) }
            rest = Data()
            start = octets.index(after: end)
        }
        rest.append(octets[start...])
        return lines
    }

    /// What came after the last end of a line; nil when nothing did.
    func last() -> Data? { rest.isEmpty ? nil : rest }
}
