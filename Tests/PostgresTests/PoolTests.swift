import TestKit
import Testing

@testable import Postgres

@Suite struct `Postgres pool` {
    @Test func `never more sessions than its size, and everybody is served`() async throws {
        let pool = PostgresPool(try await AdapterDatabase.configuration(), size: 3)
        let held = Notes((now: 0, most: 0))
        let sessions = Notes(Set<Int32>())
        try await withThrowingTaskGroup { group in
            for _ in 0..<60 {
                group.addTask {
                    try await pool.withConnection { connection in
                        held.update {
                            $0.now += 1
                            $0.most = max($0.most, $0.now)
                        }
                        let row = try await connection.query("SELECT pg_backend_pid() AS pid, pg_sleep(0.02)")[0]
                        let pid = try row.int32("pid")
                        sessions.update { $0.insert(pid) }
                        held.update { $0.now -= 1 }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(held.value.most == 3)
        #expect(sessions.value.count == 3)
        #expect(pool.metrics == .init(size: 3, inUse: 0, waiting: 0, isServerUnreachable: false))
        await pool.close()
    }

    @Test func `waiters are served in the order they came`() async throws {
        let pool = PostgresPool(try await AdapterDatabase.configuration(), size: 1)
        let order = Notes<[Int]>([])
        try await withThrowingTaskGroup { group in
            try await pool.withConnection { _ in
                for number in 0..<8 {
                    group.addTask {
                        try await pool.withConnection { _ in order.update { $0.append(number) } }
                    }
                    try await eventually("waiter \(number)", every: .milliseconds(1)) {
                        pool.metrics.waiting == number + 1
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(order.value == Array(0..<8))
        await pool.close()
    }

    @Test func `the waiting room is bounded`() async throws {
        let pool = PostgresPool(
            try await AdapterDatabase.configuration(), size: 1, maxWaiters: 1, leaseTimeout: .seconds(60))
        try await withThrowingTaskGroup { group in
            try await pool.withConnection { _ in
                group.addTask { _ = try await pool.query("SELECT 1") }
                try await eventually("the waiter", every: .milliseconds(1)) { pool.metrics.waiting == 1 }
                let refusal = try await failure { _ = try await pool.query("SELECT 1") }
                #expect(refusal.code == .poolFull)
            }
            try await group.waitForAll()
        }
        await pool.close()
    }

    @Test func `the wait for a connection ends`() async throws {
        let pool = PostgresPool(
            try await AdapterDatabase.configuration(), size: 1, leaseTimeout: .seconds(3))
        try await pool.withConnection { _ in
            let error = try await failure { _ = try await pool.query("SELECT 1") }
            #expect(error.code == .poolTimeout)
        }
        #expect(pool.metrics.waiting == 0)
        #expect(try await pool.query("SELECT 1 AS c")[0].int("c") == 1)
        await pool.close()
    }

    @Test func `a cancelled waiter leaves the queue and takes no connection with it`() async throws {
        let pool = PostgresPool(try await AdapterDatabase.configuration(), size: 1, leaseTimeout: .seconds(60))
        try await pool.withConnection { _ in
            let waiter = Task { try await pool.query("SELECT 1") }
            try await eventually("the waiter", every: .milliseconds(1)) { pool.metrics.waiting == 1 }
            waiter.cancel()
            await #expect(throws: CancellationError.self) { try await waiter.value }
            #expect(pool.metrics.waiting == 0)
        }
        #expect(try await pool.query("SELECT 1 AS c")[0].int("c") == 1)
        await pool.close()
    }

    @Test func `a killed connection is replaced`() async throws {
        let pool = PostgresPool(try await AdapterDatabase.configuration(), size: 1)
        let killer = try await AdapterDatabase.connection()
        func backend() async throws -> Int32 { try await pool.query("SELECT pg_backend_pid() AS pid")[0].int32("pid") }
        let first = try await backend()
        try await terminate(first, by: killer)
        let second = try await backend()
        #expect(second != first)
        try await terminate(second, by: killer)
        let third = try await pool.withTransaction { connection in
            try #require(await connection.backendPID)
        }
        #expect(third != second)
        try await terminate(third, by: killer)
        let error = try await failure {
            try await pool.withConnection { connection in
                try await terminate(try #require(await connection.backendPID), by: killer)
                _ = try await connection.query("SELECT 1")
            }
        }
        #expect(error.code == .connectionLost)
        #expect(try await backend() != third)
        await killer.close()
        await pool.close()
    }

    @Test func `an abandoned transaction or COPY does not reach the next holder`() async throws {
        let pool = PostgresPool(try await AdapterDatabase.configuration(), size: 1)
        _ = try await pool.query("CREATE TABLE abandoned (a bigint)")
        try await pool.withConnection { connection in
            try await connection.begin()
            _ = try await connection.query("INSERT INTO abandoned VALUES (1)")
        }
        try await pool.withConnection { connection in
            try await connection.copyBegin("COPY abandoned FROM STDIN")
            try await connection.copyWrite(Array("2\n".utf8))
        }
        #expect(try await failure { _ = try await pool.query("BEGIN") }.code == .invalidState)
        #expect(try await pool.query("SELECT * FROM abandoned").isEmpty)
        await pool.close()
    }

    @Test func `a server that is not there fails the holder and the waiter at their deadlines`() async throws {
        let nowhere = PostgresConfiguration(
            host: "127.0.0.1", port: 1, database: "d", user: "u", password: "p", applicationName: "test")
        let pool = PostgresPool(nowhere, size: 1, leaseTimeout: .seconds(1))
        async let first = failure { _ = try await pool.query("SELECT 1") }
        async let second = failure { try await pool.withTransaction { _ in } }
        let codes = try await [first.code, second.code]
        // A waiter learns of the refused connection, or that its own time is up, whichever comes first.
        #expect(codes.contains(.connectionFailed))
        #expect(codes.allSatisfy { $0 == .connectionFailed || $0 == .poolTimeout })
        #expect(pool.metrics.isServerUnreachable)
        #expect(pool.metrics.inUse == 0)
        await pool.close()
    }

    @Test func `closing refuses newcomers, fails waiters and waits for holders`() async throws {
        let pool = PostgresPool(try await AdapterDatabase.configuration(), size: 1)
        let isDone = Notes(false)
        try await withThrowingTaskGroup { group in
            try await pool.withConnection { connection in
                group.addTask {
                    let error = try await failure { _ = try await pool.query("SELECT 1") }
                    #expect(error.code == .poolClosed)
                }
                try await eventually("the waiter", every: .milliseconds(1)) { pool.metrics.waiting == 1 }
                group.addTask {
                    await pool.close()
                    #expect(isDone.value)
                }
                try await eventually("the end of the waiter", every: .milliseconds(1)) { pool.metrics.waiting == 0 }
                let refusal = try await failure { _ = try await pool.query("SELECT 1") }
                #expect(refusal.code == .poolClosed)
                let row = try await connection.query("SELECT 1 AS c")[0]
                #expect(try row.int("c") == 1)
                isDone.update { $0 = true }
            }
            try await group.waitForAll()
        }
        #expect(pool.metrics.inUse == 0)
    }

    @Test func `closing gives up on a holder after its grace`() async throws {
        let pool = PostgresPool(try await AdapterDatabase.configuration(), size: 1)
        try await pool.withConnection { connection in
            await pool.close(grace: .milliseconds(20))
            #expect(pool.metrics.inUse == 1)
            let row = try await connection.query("SELECT 1 AS c")[0]
            #expect(try row.int("c") == 1)
        }
        #expect(pool.metrics.inUse == 0)
    }
}
