import TestKit
import Testing

@testable import Postgres

@Suite struct `Postgres transaction` {
    @Test func `a body that throws is rolled back`() async throws {
        struct Refused: Error {}
        let pool = PostgresPool(try await AdapterDatabase.configuration(), size: 1)
        _ = try await pool.query("CREATE TABLE rolled_back (a bigint)")
        await #expect(throws: Refused.self) {
            try await pool.withTransaction { connection in
                _ = try await connection.query("INSERT INTO rolled_back VALUES (1)")
                throw Refused()
            }
        }
        #expect(try await pool.query("SELECT * FROM rolled_back").isEmpty)
        try await pool.withTransaction { _ = try await $0.query("INSERT INTO rolled_back VALUES (2)") }
        #expect(try await pool.query("SELECT a FROM rolled_back").map { try $0.int("a") } == [2])
        await pool.close()
    }

    @Test func `COMMIT after a swallowed error is no success`() async throws {
        let pool = PostgresPool(try await AdapterDatabase.configuration(), size: 1)
        let error = try await failure {
            try await pool.withTransaction { connection in
                _ = try? await connection.query("SELECT 1 / 0")
            }
        }
        #expect(error.code == .transactionAborted)
        #expect(try await pool.query("SELECT 1 AS c")[0].int("c") == 1)
        await pool.close()
    }

    @Test func `a deferred constraint that fails at COMMIT is a certain failure`() async throws {
        let pool = PostgresPool(try await AdapterDatabase.configuration(), size: 1)
        _ = try await pool.query("CREATE TABLE deferred_unique (a bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        let error = try await failure {
            try await pool.withTransaction { connection in
                _ = try await connection.query("INSERT INTO deferred_unique VALUES (1), (1)")
            }
        }
        #expect(error.code == .server)
        #expect(error.sqlState == "23505")
        #expect(try await pool.query("SELECT * FROM deferred_unique").isEmpty)
        await pool.close()
    }

    /// A trigger that runs inside COMMIT.
    private func atCommit(_ table: String, _ action: String, _ connection: PostgresConnection) async throws {
        try await connection.execute(
            script: """
                CREATE TABLE \(table) (a bigint);
                CREATE FUNCTION \(table)_action() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM \(action); RETURN NULL; END $$;
                CREATE CONSTRAINT TRIGGER late AFTER INSERT ON \(table) DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION \(table)_action();
                """)
    }

    @Test func `a connection cut inside COMMIT is ambiguous and here not committed`() async throws {
        let pool = PostgresPool(try await AdapterDatabase.configuration(), size: 1)
        try await pool.withConnection { connection in
            try await atCommit("cut", "pg_terminate_backend(pg_backend_pid())", connection)
        }
        let error = try await failure {
            try await pool.withTransaction { _ = try await $0.query("INSERT INTO cut VALUES (1)") }
        }
        #expect(error.code == .ambiguousCommit)
        #expect(error.sqlState == "57P01")
        #expect(!error.isRetriable)
        #expect(try await pool.query("SELECT * FROM cut").isEmpty)
        await pool.close()
    }

    @Test func `an answer to COMMIT that stays away is ambiguous and here committed`() async throws {
        var configuration = try await AdapterDatabase.configuration()
        configuration.statementTimeout = .seconds(1)
        configuration.answerMargin = .seconds(1)
        let pool = PostgresPool(configuration, size: 1)
        try await AdapterDatabase.withConnection { try await atCommit("slow", "pg_sleep(4)", $0) }
        let error = try await failure {
            try await pool.withTransaction { connection in
                try await connection.execute(script: "SET LOCAL statement_timeout = 0")
                _ = try await connection.query("INSERT INTO slow VALUES (1)")
            }
        }
        #expect(error.code == .ambiguousCommit)
        try await eventually("the row of the ambiguous commit") {
            try await pool.query("SELECT * FROM slow").count == 1
        }
        await pool.close()
    }

    @Test func `a connection lost before COMMIT is certain`() async throws {
        let pool = PostgresPool(try await AdapterDatabase.configuration(), size: 1)
        let killer = try await AdapterDatabase.connection()
        _ = try await pool.query("CREATE TABLE lost_before (a bigint)")
        let error = try await failure {
            try await pool.withTransaction { connection in
                _ = try await connection.query("INSERT INTO lost_before VALUES (1)")
                let victim = try #require(await connection.backendPID)
                try await terminate(victim, by: killer)
            }
        }
        #expect(error.code == .connectionLost)
        #expect(error.isRetriable)
        #expect(try await pool.query("SELECT * FROM lost_before").isEmpty)
        await killer.close()
        await pool.close()
    }

    @Test func `calls out of order are refused`() async throws {
        try await AdapterDatabase.withConnection { connection in
            #expect(try await failure { try await connection.commit() }.code == .invalidState)
            try await connection.rollback()
            try await connection.begin()
            #expect(try await failure { try await connection.begin() }.code == .invalidState)
            try await connection.commit()
            #expect(try await failure { try await connection.limitStatements(to: nil) }.code == .invalidState)
        }
    }
}

/// Returns when the backend is gone and its socket closed.
func terminate(_ pid: Int32, by connection: PostgresConnection) async throws {
    let gone = try await connection.query("SELECT pg_terminate_backend($1, 60000) AS gone", [.int4(pid)])
    guard try gone[0].bool("gone") else { throw TestKitError("backend \(pid) did not end") }
}
