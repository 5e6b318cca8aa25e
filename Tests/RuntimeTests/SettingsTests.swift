import Testing

@testable import Runtime

@Suite struct SettingsTests {
    private static let host = Setting.string("test.host", default: "localhost", doc: "a host")
    private static let port = Setting.int("test.port", in: 1...65535, doc: "a port")
    private static let wait = Setting.duration("test.wait", default: .seconds(10), in: .zero ... .seconds(60), doc: "w")
    private static let password = Setting.secret("test.password", doc: "a password")
    private static let note = Setting.optionalString("test.note", doc: "a note")
    private static let keys: Set<String> = ["test.host", "test.port", "test.wait", "test.password", "test.note"]

    private func settings(
        _ declared: [any DeclaredSetting], environment: [String: String] = [:], file: String? = nil
    ) throws -> Settings {
        let file = try file.map { try ConfigurationFile(json: Array($0.utf8)) }
        return try Settings(declared: declared, environment: environment, file: file, knownKeys: Self.keys)
    }

    private func complaints(_ body: () throws -> Settings) -> [String: String] {
        do {
            _ = try body()
            return [:]
        } catch let error as ConfigurationError {
            return Dictionary(uniqueKeysWithValues: error.complaints.map { ($0.subject, $0.explanation) })
        } catch {
            Issue.record("unexpected \(error)")
            return [:]
        }
    }

    @Test func `the environment wins over the file and the file over the default`() throws {
        let declared: [any DeclaredSetting] = [Self.host, Self.wait, Self.port]
        let file = #"{"test": {"host": "filehost", "port": 1}}"#
        let both = try settings(declared, environment: ["ROLLCALL_TEST_HOST": "envhost"], file: file)
        #expect(both[Self.host] == "envhost")
        #expect(both[Self.port] == 1)
        #expect(both[Self.wait] == .seconds(10))
        let fileOnly = try settings(declared, file: file)
        #expect(fileOnly[Self.host] == "filehost")
        let lines = both.printed().split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        #expect(lines.contains(["test.host", "envhost", "environment"]))
        #expect(lines.contains(["test.port", "1", "file"]))
        #expect(lines.contains(["test.wait", "10s", "default"]))
    }

    @Test func `everything wrong is reported at once with key, value and expectation`() {
        let found = complaints {
            try settings(
                [Self.host, Self.port, Self.wait, Self.password],
                environment: ["ROLLCALL_TEST_WAIT": "61s", "ROLLCALL_TEST_HOTS": "x", "PATH": "/bin"],
                file: #"{"test": {"port": 70000, "prot": 5}}"#)
        }
        #expect(Set(found.keys) == ["test.port", "test.wait", "test.password", "ROLLCALL_TEST_HOTS", "test.prot"])
        #expect(found["test.port"]?.contains("\"70000\"") == true)
        #expect(found["test.port"]?.contains("1 to 65535") == true)
        #expect(found["test.wait"]?.contains("ROLLCALL_TEST_WAIT") == true)
        #expect(found["test.password"]?.contains("required") == true)
        #expect(found["ROLLCALL_TEST_HOTS"]?.contains("did you mean ROLLCALL_TEST_HOST?") == true)
        #expect(found["test.prot"]?.contains("did you mean test.port?") == true)
    }

    @Test func `another program's key is fine in a shared environment`() throws {
        let settings = try settings(
            [Self.host], environment: ["ROLLCALL_TEST_PORT": "nonsense", "ROLLCALL_STATE": "x", "ROLLCALL_CONFIG": "y"])
        #expect(settings[Self.host] == "localhost")
    }

    @Test func `a declared key that is missing in KnownKeys is refused`() {
        let found = complaints { try settings([Setting.bool("test.stray", default: true, doc: "x")]) }
        #expect(found["test.stray"]?.contains("KnownKeys") == true)
    }

    @Test func `a secret is shown neither in the table nor in a complaint`() throws {
        let good = try settings([Self.password], environment: ["ROLLCALL_TEST_PASSWORD": "hunter2"])
        #expect(good[Self.password] == "hunter2")
        #expect(good.printed().contains("***"))
        #expect(!good.printed().contains("hunter2"))
        let listed = complaints { try settings([Self.password], file: #"{"test": {"password": ["hunter2"]}}"#) }
        #expect(listed["test.password"]?.contains("not shown") == true)
        #expect(listed.values.allSatisfy { !$0.contains("hunter2") })
    }

    @Test func `an optional setting is nil when left out`() throws {
        #expect(try settings([Self.note])[Self.note] == nil)
        #expect(try settings([Self.note], environment: ["ROLLCALL_TEST_NOTE": "hi"])[Self.note] == "hi")
    }

    @Test func `control characters of a bad value do not reach the terminal`() {
        let found = complaints { try settings([Self.port], environment: ["ROLLCALL_TEST_PORT": "\u{1B}[2J\r\n"]) }
        let text = found["test.port"] ?? ""
        #expect(text.contains("[2J"))
        #expect(text.unicodeScalars.allSatisfy { $0.value >= 0x20 })
    }

    @Test(arguments: [
        ("10s", Duration.seconds(10)), ("250ms", .milliseconds(250)), ("2m", .seconds(120)), ("0s", .zero),
        ("7us", .microseconds(7)),
    ])
    func `a duration reads back as it prints`(text: String, duration: Duration) {
        #expect(DurationText.parse(text) == duration)
        #expect(DurationText.print(duration) == text)
    }

    @Test(arguments: [
        "", "10", "s", "1.5s", "-1s", "10 s", "10S", "99999999999999999999s", "9223372036854775807d", "１s",
    ])
    func `a text that is no duration is refused`(text: String) {
        #expect(DurationText.parse(text) == nil)
    }

    @Test func `pairs keep everything after the first equals sign and refuse a name given twice`() {
        let pairs = Setting.pairs("test.pairs", default: [:], doc: "x")
        func read(_ text: String) -> [String: String]? {
            guard case .value(let box, _) = pairs.read(.text(text)) else { return nil }
            return (box as? Resolved<[String: String]>)?.value
        }
        #expect(read("a.b=1, c=x=y") == ["a.b": "1", "c": "x=y"])
        #expect(read("") == [:])
        #expect(read("a=1,a=2") == nil)
        #expect(read("a") == nil)
        #expect(read("=1") == nil)
    }

    @Test(arguments: [
        ("127.0.0.1:8080", "127.0.0.1", 8080), ("[::1]:0", "::1", 0), ("example.org:443", "example.org", 443),
    ])
    func `a listen address reads back as it prints`(text: String, host: String, port: Int) {
        #expect(ListenAddress(text) == ListenAddress(host: host, port: port))
        #expect(ListenAddress(text)?.description == text)
    }

    @Test(arguments: ["", ":80", "host", "host:", "host:65536", "host:-1", "::1:80", "[]:80", "a b:80", "a/b:1"])
    func `a text that is no listen address is refused`(text: String) {
        #expect(ListenAddress(text) == nil)
    }

    @Test func `no two known keys share one environment variable`() {
        let variables = KnownKeys.all.map(Settings.variable(for:))
        #expect(Set(variables).count == KnownKeys.all.count)
        #expect(KnownKeys.variablesWithoutKey.isDisjoint(with: variables))
    }

    @Test func `every common setting is a known key`() {
        for setting in CommonSettings.all(roles: PostgresRole.allCases) {
            #expect(KnownKeys.all.contains(setting.key))
        }
    }
}
