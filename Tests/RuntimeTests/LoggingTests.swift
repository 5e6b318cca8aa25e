import Foundation
import Logging
import Synchronization
import Testing

@testable import Runtime

@Suite struct LoggingTests {
    private struct Failure: Error, CustomStringConvertible {
        let description = "bad \"thing\"\n"
    }

    private func line(
        _ message: Logger.Message, metadata: Logger.Metadata? = nil, error: (any Error)? = nil
    ) throws -> [String: Any] {
        let handler = JSONLogHandler(service: "test", sink: LogSink { _ in })
        let event = LogEvent(
            level: .info, message: message, error: error, metadata: metadata, source: nil, file: "f", function: "g",
            line: 1)
        let bytes = handler.line(for: event, at: 1_772_357_400_123_456)
        #expect(bytes.last == 0x0A)
        #expect(bytes.dropLast().allSatisfy { $0 >= 0x20 && $0 != 0x7F })
        let text = String(decoding: bytes.dropLast(), as: UTF8.self)
        #expect(!text.unicodeScalars.contains { [0x85, 0x2028, 0x2029].contains($0.value) })
        return try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
    }

    @Test func `a record is one line of JSON whatever it carries`() throws {
        let hostile = "a\"b\\c\r\n\u{0}\u{1B}[2J\u{7F}\u{85}\u{2028}\u{2029}é😀"
        let record = try line("\(hostile)", metadata: ["k\n": "\(hostile)"], error: Failure())
        #expect(record["message"] as? String == hostile)
        #expect(record["k\n"] as? String == hostile)
        #expect(record["error"] as? String == "bad \"thing\"\n")
        #expect(record["ts"] as? String == "2026-03-01T09:30:00.123Z")
        #expect(record["level"] as? String == "info")
        #expect(record["service"] as? String == "test")
    }

    @Test func `metadata is flattened, numbers stay numbers, our keys cannot be overwritten`() throws {
        let record = try line(
            "m",
            metadata: [
                "n": .stringConvertible(42), "d": ["x": "1", "y": ["z": "2"]], "list": ["p", "q"], "level": "fake",
                "hb.request.id": "abc",
            ])
        #expect(record["n"] as? Int == 42)
        #expect(record["d.x"] as? String == "1")
        #expect(record["d.y.z"] as? String == "2")
        #expect(record["list"] as? [String] == ["p", "q"])
        #expect(record["level"] as? String == "info")
        #expect(record["metadata.level"] as? String == "fake")
        #expect(record["request.id"] as? String == "abc")
    }

    @Test func `a long text is cut`() throws {
        let record = try line("\(String(repeating: "é", count: 100_000))")
        #expect(try #require(record["message"] as? String).utf8.count < 5_000)
    }

    @Test(arguments: [
        (Int64(0), "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_000_000, "2000-02-29T00:00:00.000Z"), (4_107_542_399_999_999, "2100-02-28T23:59:59.999Z"),
        (4_107_542_400_000_000, "2100-03-01T00:00:00.000Z"),
    ])
    func `times are RFC 3339 in UTC`(microseconds: Int64, text: String) {
        #expect(WallClock.rfc3339(microseconds: microseconds) == text)
    }

    @Test func `a stuck reader costs lines, never time, and the loss is written down`() {
        let gate = DispatchSemaphore(value: 0)
        let written = Mutex<[UInt8]>([])
        let sink = LogSink(capacity: 100) { bytes in
            gate.wait()
            written.withLock { $0 += bytes }
        }
        for _ in 0..<1_000 { sink.write(Array("0123456789\n".utf8)) }
        for _ in 0..<1_000 { gate.signal() }
        sink.drain()
        let text = written.withLock { String(decoding: $0, as: UTF8.self) }
        let kept = text.split(separator: "\n").count { $0 == "0123456789" }
        let dropped = text.split(separator: "\n").compactMap { $0.firstMatch(of: /"dropped":(\d+)/)?.1 }
            .compactMap { Int($0) }.reduce(0, +)
        #expect(kept + dropped == 1_000)
        #expect(dropped > 0)
    }
}
