import TestKit
import Testing

@testable import Postgres

@Suite struct `Postgres connection` {
    @Test func `a statement is prepared once`() async throws {
        try await AdapterDatabase.withConnection { connection in
            for number in Int64(1)...5 {
                #expect(try await connection.query("SELECT $1 + 1 AS c", [.int(number)])[0].int("c") == number + 1)
            }
            #expect(try await connection.query("SELECT $1 + 1 AS c", [.int4(1)])[0].int("c") == 2)
            let prepared = try await connection.query(
                """
                SELECT name, generic_plans + custom_plans AS runs FROM pg_prepared_statements
                WHERE statement = 'SELECT $1 + 1 AS c' ORDER BY prepare_time
                """)
            #expect(try prepared.map { try $0.int("runs") } == [5, 1])
        }
    }

    @Test func `the number of prepared statements is bounded`() async throws {
        try await AdapterDatabase.withConnection { connection in
            for number in 0..<300 { _ = try await connection.query("SELECT \(number) AS c") }
            let count = try await connection.query("SELECT count(*) AS c FROM pg_prepared_statements")[0].int("c")
            #expect(count == 256)
        }
    }

    @Test func `texts that differ in normalization only are different statements`() async throws {
        try await AdapterDatabase.withConnection { connection in
            let composed = try await connection.query("SELECT octet_length('\u{e9}') AS c")[0].int("c")
            let decomposed = try await connection.query("SELECT octet_length('e\u{301}') AS c")[0].int("c")
            #expect(composed == 2)
            #expect(decomposed == 3)
        }
    }

    @Test func `a statement survives a change of its result type`() async throws {
        try await AdapterDatabase.withConnection { connection in
            try await connection.execute(script: "CREATE TEMP TABLE changing (a int); INSERT INTO changing VALUES (1)")
            #expect(try await connection.query("SELECT * FROM changing").columns == ["a"])
            try await connection.execute(script: "ALTER TABLE changing ADD b int")
            #expect(try await connection.query("SELECT * FROM changing").columns == ["a", "b"])
            try await connection.execute(script: "DEALLOCATE ALL")
            #expect(try await connection.query("SELECT * FROM changing").columns == ["a", "b"])
        }
    }

    @Test func `affected rows are counted`() async throws {
        try await AdapterDatabase.withConnection { connection in
            try await connection.execute(script: "CREATE TEMP TABLE counted (a bigint)")
            let inserted = try await connection.query("INSERT INTO counted SELECT unnest($1)", [.int8Array([1, 2, 3])])
            #expect(inserted.affectedRows == 3)
            #expect(inserted.isEmpty)
            #expect(try await connection.query("UPDATE counted SET a = 0 WHERE a > $1", [1]).affectedRows == 2)
            #expect(try await connection.query("DELETE FROM counted WHERE a = $1", [9]).affectedRows == 0)
            #expect(try await connection.query("SELECT a FROM counted").affectedRows == 3)
        }
    }

    @Test func `a unique violation names its constraint and shows no value`() async throws {
        try await AdapterDatabase.withConnection { connection in
            try await connection.execute(script: "CREATE TEMP TABLE people (name text CONSTRAINT people_once UNIQUE)")
            let insert = "INSERT INTO people VALUES ($1)"
            _ = try await connection.query(insert, ["Ada Private"])
            let error = try await failure { _ = try await connection.query(insert, ["Ada Private"]) }
            #expect(error.code == .server)
            #expect(error.sqlState == "23505")
            #expect(error.constraint == "people_once")
            #expect(error.detail?.contains("Ada Private") == true)
            #expect(!"\(error)".contains("Ada Private"))
            #expect("\(error)".contains("people_once"))
            #expect(!error.isRetriable)
        }
    }

    @Test(arguments: [
        ("SELECT $1::uuid", "22P02", false), ("SELECT no_such_column, $1", "42703", false),
        ("SELECT 1 / (length($1) - length($1))", "22012", false), ("SELEC $1", "42601", false),
    ])
    func `server errors keep their SQLSTATE and hide the value`(
        sql: String, state: String, retriable: Bool
    ) async throws {
        try await AdapterDatabase.withConnection { connection in
            let error = try await failure { _ = try await connection.query(sql, ["Ada Private"]) }
            #expect(error.code == .server)
            #expect(error.sqlState == state)
            #expect(error.isRetriable == retriable)
            #expect(!"\(error)".contains("Ada Private"))
            #expect(await connection.isUsable)
        }
    }

    @Test(arguments: [
        ("40001", true), ("40P01", true), ("08006", true), ("53300", true), ("57P01", true), ("57P03", true),
        ("57014", false), ("22001", false), ("23505", false), ("42P01", false), ("25P02", false),
    ])
    func `what may be repeated`(state: String, expected: Bool) {
        #expect(PostgresError(.server, sqlState: state, message: "").isRetriable == expected)
        #expect(PostgresError(.connectionLost, sqlState: state, message: "").isRetriable)
        #expect(!PostgresError(.ambiguousCommit, sqlState: state, message: "").isRetriable)
    }

    @Test func `the server ends a statement at its time limit`() async throws {
        var configuration = try await AdapterDatabase.configuration()
        configuration.statementTimeout = .milliseconds(500)
        let connection = PostgresConnection(configuration, name: "test")
        try await connection.connect()
        let error = try await failure { _ = try await connection.query("SELECT pg_sleep(30)") }
        #expect(error.sqlState == "57014")
        try await connection.begin()
        try await connection.limitStatements(to: nil)
        _ = try await connection.query("SELECT pg_sleep(0.6)")
        try await connection.commit()
        #expect(try await failure { _ = try await connection.query("SELECT pg_sleep(30)") }.sqlState == "57014")
    }

    @Test func `a server that stays silent loses the connection`() async throws {
        var configuration = try await AdapterDatabase.configuration()
        configuration.statementTimeout = .milliseconds(500)
        configuration.answerMargin = .milliseconds(500)
        let connection = PostgresConnection(configuration, name: "test")
        try await connection.connect()
        try await connection.execute(script: "SET statement_timeout = 0")
        let error = try await failure { _ = try await connection.query("SELECT pg_sleep(30)") }
        #expect(error.code == .connectionLost)
        #expect(await !connection.isUsable)
        try await connection.connect()
        #expect(try await connection.query("SELECT 1 AS c")[0].int("c") == 1)
    }

    @Test func `a closed connection says so`() async throws {
        let connection = try await AdapterDatabase.connection()
        await connection.close()
        #expect(try await failure { _ = try await connection.query("SELECT 1") }.code == .connectionLost)
        #expect(try await failure { try await connection.begin() }.code == .connectionLost)
        #expect(await !connection.isUsable)
    }

    @Test func `a server that is not there is a failed connection, without the password`() async throws {
        let nowhere = PostgresConfiguration(
            host: "127.0.0.1", port: 1, database: "d", user: "u", password: "hunter2", applicationName: "test")
        let connection = PostgresConnection(nowhere, name: "test")
        let error = try await failure { try await connection.connect() }
        #expect(error.code == .connectionFailed)
        #expect(error.isRetriable)
        #expect("\(error)".contains("127.0.0.1"))
        #expect(!"\(error)".contains("hunter2"))
    }
}
