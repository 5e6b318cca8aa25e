import Postgres
import Testing

private let texts: [String?] = [
    "", "plain", "it's", #""quoted""#, #"back\slash"#, #"\x41"#, "{a,b}", "comma, space", "NULL", "null", nil,
    "line\r\nbreak\ttab", "żółć 漢字 👩‍👩‍👧 e\u{301}", "'; DROP TABLE recipient; --", "$1",
]

@Suite struct `Postgres values` {
    @Test func `binary results read as the text ones do, and what has no binary reader is refused`() async throws {
        try await AdapterDatabase.withConnection { connection in
            let sql = """
                SELECT a::smallint, a::int AS b, a::bigint AS c, t, a > 0 AS yes, gen, '\\x00ff61'::bytea AS raw, at, none
                  FROM (VALUES (-7, 'e\u{301} 漢', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid,
                                '1969-12-31 23:59:59.999999+00'::timestamptz, NULL::bigint),
                               (32767, '', 'ffffffff-ffff-ffff-ffff-ffffffffffff',
                                '2026-11-21 20:04:26.123456+00', NULL)) AS v (a, t, gen, at, none)
                """
            let text = try await connection.query(sql)
            let binary = try await connection.query(sql, inBinary: true)
            #expect(binary.count == 2)
            for (row, other) in zip(text, binary) {
                for name in ["a", "b", "c", "none"] { #expect(try row.optionalInt(name) == other.optionalInt(name)) }
                #expect(try row.int32("b") == other.int32("b"))
                #expect(try Array(row.string("t").utf8) == Array(other.string("t").utf8))
                #expect(try row.bool("yes") == other.bool("yes"))
                #expect(try row.uuid("gen") == other.uuid("gen"))
                #expect(try row.bytes("raw") == other.bytes("raw"))
                #expect(try row.timestampMicroseconds("at") == other.timestampMicroseconds("at"))
                #expect(throws: PostgresError.self) { try other.string("c") }
                #expect(throws: PostgresError.self) { try other.int("t") }
                #expect(throws: PostgresError.self) { try other.timestampMicroseconds("c") }
            }
            let odd = try await connection.query(
                "SELECT 1.5::numeric AS n, 'infinity'::timestamptz AS at, '{1}'::bigint[] AS list", inBinary: true)[0]
            #expect(throws: PostgresError.self) { try odd.int("n") }
            #expect(throws: PostgresError.self) { try odd.double("n") }
            #expect(throws: PostgresError.self) { try odd.timestampMicroseconds("at") }
            #expect(throws: PostgresError.self) { try odd.int8Array("list") }
        }
    }

    @Test func `scalars come back as they were sent`() async throws {
        try await AdapterDatabase.withConnection { connection in
            for text in texts {
                let row = try #require(try await connection.query("SELECT $1 AS c", [.text(text)]).first)
                #expect(try row.optionalString("c").map { Array($0.utf8) } == text.map { Array($0.utf8) })
            }
            for value in [Int64.min, -1, 0, 1, .max] {
                #expect(try await connection.query("SELECT $1 AS c", [.int(value)])[0].int("c") == value)
            }
            for value in [Int32.min, -1, 0, .max] {
                #expect(try await connection.query("SELECT $1 AS c", [.int4(value)])[0].int32("c") == value)
            }
            for value in [0.1, -0.0, .pi, .infinity, .greatestFiniteMagnitude, .leastNonzeroMagnitude] {
                #expect(try await connection.query("SELECT $1 AS c", [.double(value)])[0].double("c") == value)
            }
            let row = try await connection.query(
                "SELECT $1 AS yes, $2 AS no, $3 AS all_bytes, $4 AS empty, $5 AS id, $6 AS json",
                [
                    true, .bool(false), .bytes(Array(0...255)), .bytes([]),
                    .uuid(high: 0x0123_4567_89ab_cdef, low: .max), .json(#"{"a": ["\"", 1]}"#),
                ])[0]
            #expect(try row.bool("yes"))
            #expect(try !row.bool("no"))
            #expect(try row.bytes("all_bytes") == Array(0...255))
            #expect(try row.bytes("empty") == [])
            #expect(try row.uuid("id") == (0x0123_4567_89ab_cdef, .max))
            #expect(try row.string("id") == "01234567-89ab-cdef-ffff-ffffffffffff")
            #expect(try row.string("json") == #"{"a": ["\"", 1]}"#)
        }
    }

    @Test(arguments: [0, 1, -1, 1_795_291_466_123_456, -62_135_596_800_000_000, 253_402_300_799_999_999])
    func `timestamps keep their microseconds`(value: Int64) async throws {
        try await AdapterDatabase.withConnection { connection in
            let row = try await connection.query("SELECT $1 AS c", [.timestampMicroseconds(value)])[0]
            #expect(try row.timestampMicroseconds("c") == value)
            let epoch = try await connection.query(
                "SELECT (extract(epoch FROM $1) * 1000000)::bigint AS c", [.timestampMicroseconds(value)])[0]
            #expect(try epoch.int("c") == value)
        }
    }

    @Test func `arrays with nulls come back as they were sent`() async throws {
        try await AdapterDatabase.withConnection { connection in
            let row = try await connection.query("SELECT $1 AS c", [.textArray(texts)])[0]
            #expect(try row.textArray("c") == texts)
            let rows = try await connection.query(
                """
                SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)
                AS row (text, small, big, flag, bytes, id, time)
                """,
                [
                    .textArray(["x", nil]), .int4Array([.min, .max]), .int8OptionalArray([nil, .min]),
                    .boolArray([true, false]), .byteaArray([nil, [0, 255]]),
                    .uuidArray([(high: 1, low: 2), (high: .max, low: 0)]), .timestampArray([-1, nil]),
                ])
            #expect(rows.count == 2)
            #expect(try rows.map { try $0.optionalString("text") } == ["x", nil])
            #expect(try rows.map { try $0.int32("small") } == [.min, .max])
            #expect(try rows.map { try $0.optionalInt("big") } == [nil, .min])
            #expect(try rows.map { try $0.bool("flag") } == [true, false])
            #expect(try rows.map { try $0.optionalBytes("bytes") } == [nil, [0, 255]])
            #expect(try rows[0].uuid("id") == (1, 2))
            #expect(try rows[1].uuid("id") == (.max, 0))
            #expect(try rows.map { try $0.optionalTimestampMicroseconds("time") } == [-1, nil])
        }
    }

    @Test func `empty arrays are arrays, not null`() async throws {
        try await AdapterDatabase.withConnection { connection in
            let empty: [PostgresParameter] = [
                .textArray([String?]()), .int4Array([]), .int8Array([]), .boolArray([]), .byteaArray([]),
                .uuidArray([]), .timestampArray([]),
            ]
            for parameter in empty {
                let row = try await connection.query("SELECT cardinality($1) AS c, $1 AS array", [parameter])[0]
                #expect(try row.int("c") == 0)
                #expect(try row.textArray("array") == [])
            }
        }
    }

    @Test func `typed nulls need no cast`() async throws {
        try await AdapterDatabase.withConnection { connection in
            let nulls: [PostgresParameter] = [
                nil, .text(nil), .int(nil), .int4(nil), .bool(nil), .double(nil), .bytes(nil), .uuid(nil),
                .timestampMicroseconds(nil), .json(nil),
            ]
            for parameter in nulls {
                let row = try await connection.query("SELECT $1 AS c", [parameter])[0]
                #expect(try row.isNull("c"))
            }
        }
    }

    @Test func `NUL in a text is refused before anything is sent`() async throws {
        try await AdapterDatabase.withConnection { connection in
            let refused: [PostgresParameter] = [
                .text("a\0b"), .textArray(["ok", "\0"]), .json("\0"),
            ]
            for parameter in refused {
                let error = try await failure { _ = try await connection.query("SELECT 1, $1, $2", [1, parameter]) }
                #expect(error.code == .invalidParameter)
                #expect(error.message.hasPrefix("parameter $2: text contains the character U+0000"))
            }
            let cut = try await failure { _ = try await connection.query("SELECT 1 AS c\0, 2") }
            #expect(cut.code == .invalidParameter)
            #expect(try await connection.query("SELECT 1 AS c")[0].int("c") == 1)
        }
    }

    @Test(arguments: [Int64.min, Int64.min + 946_684_800_000_000])
    func `a time PostgreSQL cannot express is refused`(value: Int64) async throws {
        try await AdapterDatabase.withConnection { connection in
            for parameter in [PostgresParameter.timestampMicroseconds(value), .timestampArray([0, value])] {
                let error = try await failure { _ = try await connection.query("SELECT $1", [parameter]) }
                #expect(error.code == .invalidParameter)
            }
        }
    }

    @Test func `a decoding error names the column and keeps the value to itself`() async throws {
        try await AdapterDatabase.withConnection { connection in
            let row = try await connection.query("SELECT 'secret' AS word, NULL AS nothing, 3000000000 AS big")[0]
            let errors = [
                ("word", try await failure { _ = try row.int("word") }),
                ("nothing", try await failure { _ = try row.string("nothing") }),
                ("big", try await failure { _ = try row.int32("big") }),
                ("absent", try await failure { _ = try row.string("absent") }),
                ("absent", try await failure { _ = try row.optionalString("absent") }),
            ]
            for (column, error) in errors {
                #expect(error.code == .decoding)
                #expect(error.message.contains("\"\(column)\""))
                #expect(!"\(error)".contains("secret"))
            }
            #expect(try row[2].int() == 3_000_000_000)
            #expect(try row.optionalInt("nothing") == nil)
        }
    }
}
