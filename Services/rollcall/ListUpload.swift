import Delivery
import Foundation
import Signing

/// Sends a list in parts that are kept, so that a lost connection costs one part and a repeated command goes on where the
/// last one ended.
struct ListUpload {
    static let partOctets = 4 * 1024 * 1024
    private static let tries = 5

    let client: APIClient
    let blast: BlastID
    let file: URL

    private struct Listing: Decodable {
        struct Part: Decodable {
            let part: Int
            let sha256: String
        }
        let parts: [Part]
    }

    private var base: String { "v1/blasts/\(blast)/recipients" }
    private var isGzip: Bool { file.pathExtension.lowercased() == "gz" }

    private var type: String {
        let name = isGzip ? file.deletingPathExtension() : file
        return name.pathExtension.lowercased() == "ndjson" ? "application/x-ndjson" : "text/csv"
    }

    /// The server's answer to the whole list.
    func run() async throws -> APIClient.Answer {
        let size = try FileManager.default.attributesOfItem(atPath: file.path)[.size] as? Int ?? 0
        guard size > Self.partOctets else {
            return try await client.put(
                base, file: file, type: type, headers: isGzip ? ["Content-Encoding": "gzip"] : [:])
        }
        let stored = Dictionary(
            try await client.get("\(base)/parts").decoded(Listing.self).parts.map { ($0.part, $0.sha256) }
        ) { first, _ in first }
        let handle = try FileHandle(forReadingFrom: file)
        defer { try? handle.close() }
        var number = 0
        while let content = try handle.read(upToCount: Self.partOctets), !content.isEmpty {
            number += 1
            try await send(number, content, stored: stored[number])
        }
        let whole: [String: Any] = ["parts": number, "type": type, "encoding": isGzip ? "gzip" : "identity"]
        return try await client.put("\(base)/commit", json: try JSONSerialization.data(withJSONObject: whole))
    }

    private func send(_ number: Int, _ content: Data, stored: String?) async throws {
        let digest = SHA256Digest.of(Array(content))
        guard stored != Hexadecimal.string(digest) else { return }
        var left = Self.tries
        while true {
            do {
                _ = try await client.put(
                    "\(base)/parts/\(number)", data: content, type: "application/octet-stream",
                    headers: ["Content-Digest": "sha-256=:\(Data(digest).base64EncodedString()):"])
                return
            } catch let failure as Failure where failure.code == Failure.unavailable && left > 1 {
                left -= 1
                try await Task.sleep(for: .seconds(Self.tries - left))
            }
        }
    }
}
