import Testing

@testable import Runtime

@Suite struct ConfigurationFileTests {
    private func read(_ json: String) throws -> [String: SettingText] {
        try ConfigurationFile(json: Array(json.utf8), name: "f.json").values
    }

    @Test func `nested and dotted keys say the same`() throws {
        let values = try read(
            """
            {"kafka": {"bootstrap": "h:1", "client": {"overrides": ["a=1", "b=2"]}}, "log.level": "debug",
             "postgres": {"port": 5433}, "empty": {}, "on": true, "none": []}
            """)
        #expect(
            values == [
                "kafka.bootstrap": .text("h:1"), "kafka.client.overrides": .list(["a=1", "b=2"]),
                "log.level": .text("debug"), "postgres.port": .text("5433"), "on": .text("true"), "none": .list([]),
            ])
    }

    @Test func `escapes and unicode are kept`() throws {
        #expect(try read(#"{"a": "q\"\\\u00e9\ud83d\ude00é"}"#)["a"] == .text("q\"\\é😀é"))
    }

    @Test(arguments: [
        ("[1]", 1, 1, "begins with"), (#"{"a": 1, "a": 2}"#, 1, 10, "given twice"),
        ("{\n  \"a\": {\"b\": 1},\n  \"a.b\": 2}", 3, 3, "given twice"), (#"{"a": null}"#, 1, 7, "whole number"),
        (#"{"a": 1.5}"#, 1, 7, "expected"), (#"{"a": 1"#, 1, 8, "expected , or }"),
        (#"{"a": "x}"#, 1, 7, "closing quote"),
        (#"{"a": 1} x"#, 1, 10, "nothing may follow"), ("", 1, 1, "begins with"), (#"{"a": "\x"}"#, 1, 7, "bad escape"),
        ("{\"a\": \"x\ny\"}", 1, 9, "control character"), (#"{"a": [1, [2]]}"#, 1, 11, "expected"), ("{", 1, 2, "key"),
        (#"{"a": "\"#, 1, 7, "closing quote"),
    ])
    func `a broken file is refused with line and column`(json: String, line: Int, column: Int, words: String) {
        let error = #expect(throws: ConfigurationError.self) { try read(json) }
        #expect(error?.complaints.first?.subject == "f.json, line \(line), column \(column)")
        #expect(error?.description.contains(words) == true)
    }

    @Test func `objects nested without end are refused`() {
        let json = String(repeating: #"{"a":"#, count: 100_000)
        #expect(throws: ConfigurationError.self) { try read(json) }
    }

    @Test func `a file that does not exist is named`() {
        let error = #expect(throws: ConfigurationError.self) {
            try ConfigurationFile(path: "/nonexistent/rollcall.json")
        }
        #expect(error?.description.contains("/nonexistent/rollcall.json") == true)
    }
}
