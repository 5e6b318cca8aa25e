import Testing

@testable import Postgres

@Suite struct `Text decoding` {
    private func bytes(_ text: String) -> ArraySlice<UInt8> { Array(text.utf8)[...] }

    @Test(arguments: [
        ("1970-01-01 00:00:00+00", 0), ("2000-01-01 00:00:00+00", 946_684_800_000_000),
        ("2024-02-29 23:59:59.5+00", 1_709_251_199_500_000), ("1969-12-31 23:59:59.999999+00", -1),
        ("2026-11-21 20:04:26.123456+00", 1_795_291_466_123_456), ("2026-11-21 20:04:26-03:30", 1_795_304_066_000_000),
        ("1970-01-02", 86_400_000_000), ("12026-01-01 00:00:00+00", 317_336_745_600_000_000),
    ])
    func `timestamps`(text: String, expected: Int64) {
        #expect(TextDecoding.timestampMicroseconds(bytes(text)) == expected)
    }

    @Test(arguments: [
        "", "infinity", "-infinity", "2026", "2026-13-01", "2026-11-21 20:04", "2026-11-21 20:04:26+00x",
        "0044-03-15 00:00:00+00 BC", "2026-11-21 20:04:26.+00",
    ])
    func `what is no finite timestamp is refused`(text: String) {
        #expect(TextDecoding.timestampMicroseconds(bytes(text)) == nil)
    }

    @Test(arguments: [
        ("0", 0), ("-1", -1), ("9223372036854775807", Int64.max), ("-9223372036854775808", Int64.min),
    ])
    func `integers to their limits`(text: String, expected: Int64) {
        #expect(TextDecoding.int(bytes(text)) == expected)
    }

    @Test(arguments: ["", "-", "+1", "1.0", "9223372036854775808", "-9223372036854775809", "1e3", " 1"])
    func `what is no integer is refused`(text: String) {
        #expect(TextDecoding.int(bytes(text)) == nil)
    }

    @Test(arguments: ["", "{", "{a", #"{"a}"#, "{a,}", "{,a}", "{{a},{b}}", #"{"a"b}"#, "a"])
    func `malformed and nested arrays are refused`(text: String) {
        #expect(TextDecoding.array(bytes(text)) == nil)
    }
}
