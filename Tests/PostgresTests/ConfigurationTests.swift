import Testing

@testable import Postgres

@Suite struct `Postgres configuration` {
    private func configuration(password: String) -> PostgresConfiguration {
        PostgresConfiguration(
            host: "db", port: 5432, database: "d", user: "u", password: password, applicationName: "a b",
            searchPath: "rollcall, public", statementTimeout: .seconds(2))
    }

    @Test func `quotes and backslashes are escaped for libpq`() {
        let text = configuration(password: #"it's \ here"#).connectionString
        #expect(text.contains(#"password='it\'s \\ here'"#))
        #expect(text.contains(#"search_path=rollcall,\\ public"#))
        #expect(text.contains("statement_timeout=2000"))
    }

    @Test func `the password is never printed`() {
        let secret = configuration(password: "hunter2")
        var dumped = ""
        dump(secret, to: &dumped)
        #expect(!"\(secret)\(String(reflecting: secret))\(dumped)".contains("hunter2"))
    }

    @Test func `a text with NUL never reaches libpq as a shorter one`() async throws {
        let connection = PostgresConnection(configuration(password: "a\0b"), name: "test")
        #expect(try await failure { try await connection.connect() }.code == .invalidParameter)
    }
}
