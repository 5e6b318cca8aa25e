import Postgres
import Testing

@Suite struct `COPY into Postgres` {
    @Test func `10,000 rows in chunks that cut rows apart`() async throws {
        try await AdapterDatabase.withConnection { connection in
            try await connection.execute(script: "CREATE TEMP TABLE target (no bigint, name text)")
            let text = (1...10_000).map { "\($0)\tname \($0)\n" }.joined()
            let bytes = Array(text.utf8)
            try await connection.copyBegin("COPY target FROM STDIN")
            for start in stride(from: 0, to: bytes.count, by: 1_777) {
                try await connection.copyWrite(Array(bytes[start..<min(start + 1_777, bytes.count)]))
            }
            try await connection.copyWrite([])
            #expect(try await connection.copyEnd() == 10_000)
            let row = try await connection.query("SELECT count(*), sum(no), max(name) FROM target")[0]
            #expect(try row.int("count") == 10_000)
            #expect(try row.int("sum") == 50_005_000)
            #expect(try row.string("max") == "name 9999")
        }
    }

    @Test func `a cancelled COPY leaves nothing and the connection works on`() async throws {
        try await AdapterDatabase.withConnection { connection in
            try await connection.execute(script: "CREATE TEMP TABLE target (no bigint)")
            try await connection.copyBegin("COPY target FROM STDIN")
            try await connection.copyWrite(Array("1\n2\n".utf8))
            await connection.copyCancel(reason: "the upload ended in the middle of line 3")
            #expect(try await connection.query("SELECT * FROM target").isEmpty)
        }
    }

    @Test func `a bad row fails the COPY and names no value`() async throws {
        try await AdapterDatabase.withConnection { connection in
            try await connection.execute(script: "CREATE TEMP TABLE target (no bigint)")
            try await connection.copyBegin("COPY target FROM STDIN")
            let error = try await failure {
                try await connection.copyWrite(Array("1\nAda Private\n".utf8))
                // Large enough that the server's refusal can arrive while chunks are still being sent.
                for _ in 0..<200 { try await connection.copyWrite(Array(repeating: UInt8(ascii: "1"), count: 65_536)) }
                try await connection.copyEnd()
            }
            #expect(error.code == .server)
            #expect(error.sqlState == "22P02")
            #expect(!"\(error)".contains("Ada Private"))
            #expect(try await connection.query("SELECT * FROM target").isEmpty)
        }
    }

    @Test func `calls that do not fit are refused`() async throws {
        try await AdapterDatabase.withConnection { connection in
            try await connection.execute(script: "CREATE TEMP TABLE target (no bigint)")
            #expect(try await failure { try await connection.copyWrite([]) }.code == .invalidState)
            #expect(try await failure { try await connection.copyEnd() }.code == .invalidState)
            #expect(try await failure { try await connection.copyBegin("SELECT 1") }.code == .invalidState)
            #expect(try await failure { try await connection.copyBegin("COPY nowhere FROM STDIN") }.sqlState == "42P01")
            try await connection.copyBegin("COPY target FROM STDIN")
            #expect(try await failure { _ = try await connection.query("SELECT 1") }.code == .invalidState)
            #expect(try await failure { try await connection.commit() }.code == .invalidState)
            #expect(try await connection.copyEnd() == 0)
            let lost = try await failure { _ = try await connection.query("COPY target FROM STDIN") }
            #expect(lost.code == .connectionLost)
            #expect(await !connection.isUsable)
        }
    }
}
