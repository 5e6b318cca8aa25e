import Foundation
import Logging
import Synchronization
import Testing

@testable import Runtime

@Suite struct OutageLogTests {
    private struct Refused: Error, CustomStringConvertible {
        let description = "connection refused"
    }

    /// The level, message and error of every record that `body` leads to.
    private func records(_ body: (OutageLog) async throws -> Void) async throws -> [[String]] {
        let written = Mutex<[UInt8]>([])
        let sink = LogSink { bytes in written.withLock { $0 += bytes } }
        let logger = Logger(label: "test") { _ in JSONLogHandler(service: "test", logLevel: .trace, sink: sink) }
        try await body(OutageLog("the broker", logger: logger))
        sink.drain()
        return try written.withLock { bytes in
            try bytes.split(separator: 0x0A).map { line in
                let record = try #require(try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any])
                return ["level", "message", "error"].map { record[$0] as? String ?? "" }
            }
        }
    }

    @Test func `an outage is two records, its beginning and its end, however often it was tried`() async throws {
        let records = try await records { log in
            log.worked()
            log.failed(CancellationError())
            for _ in 1...2 {
                for _ in 1...50 { log.failed(Refused()) }
                for _ in 1...50 { log.worked() }
            }
        }
        let outage = [
            ["error", "the broker fails; it is tried again until it works", "connection refused"],
            ["notice", "the broker works again", ""],
        ]
        #expect(records == outage + outage)
    }

    @Test func `watching passes on what happened`() async throws {
        let records = try await records { log in
            await #expect(throws: Refused.self) { try await log.watch { () async throws -> Int in throw Refused() } }
            let seven = try await log.watch { 7 }
            #expect(seven == 7)
        }
        #expect(records.map(\.[0]) == ["error", "notice"])
    }
}
