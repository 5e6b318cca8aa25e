/// One value of one row, decoded when asked.
///
/// `string()` gives any type as PostgreSQL writes it. `int()` reads every integer type and a `numeric` without
/// fraction, such as `sum(bigint)`.
public struct PostgresCell: Sendable {
    let storage: PostgresRows.Storage
    let row: Int
    /// `nil` when the result has no such column.
    let column: Int?
    let name: String

    public func isNull() throws(PostgresError) -> Bool { try slice() == nil }

    public func optionalString() throws(PostgresError) -> String? {
        try decoded("text", { String(decoding: $0, as: UTF8.self) }, BinaryDecoding.text)
    }
    public func optionalInt() throws(PostgresError) -> Int64? {
        try decoded("a 64-bit integer", TextDecoding.int, BinaryDecoding.int)
    }
    public func optionalInt32() throws(PostgresError) -> Int32? {
        try decoded(
            "a 32-bit integer", { TextDecoding.int($0).flatMap(Int32.init(exactly:)) },
            { BinaryDecoding.int($0, $1).flatMap(Int32.init(exactly:)) })
    }
    public func optionalBool() throws(PostgresError) -> Bool? {
        try decoded("a boolean", TextDecoding.bool, BinaryDecoding.bool)
    }
    public func optionalDouble() throws(PostgresError) -> Double? {
        try decoded("a number", { Double(String(decoding: $0, as: UTF8.self)) }, BinaryDecoding.none)
    }
    public func optionalBytes() throws(PostgresError) -> [UInt8]? {
        try decoded("a bytea", TextDecoding.bytes, BinaryDecoding.bytes)
    }
    public func optionalUUID() throws(PostgresError) -> (high: UInt64, low: UInt64)? {
        try decoded("a uuid", TextDecoding.uuid, BinaryDecoding.uuid)
    }
    public func optionalTimestampMicroseconds() throws(PostgresError) -> Int64? {
        try decoded("a finite timestamp", TextDecoding.timestampMicroseconds, BinaryDecoding.timestampMicroseconds)
    }
    public func optionalTextArray() throws(PostgresError) -> [String?]? {
        try decoded("a one-dimensional array", TextDecoding.array, BinaryDecoding.none)
    }
    public func optionalInt8Array() throws(PostgresError) -> [Int64?]? {
        try decoded("a one-dimensional array of integers", TextDecoding.intArray, BinaryDecoding.none)
    }

    public func string() throws(PostgresError) -> String { try present(optionalString()) }
    public func int() throws(PostgresError) -> Int64 { try present(optionalInt()) }
    public func int32() throws(PostgresError) -> Int32 { try present(optionalInt32()) }
    public func bool() throws(PostgresError) -> Bool { try present(optionalBool()) }
    public func double() throws(PostgresError) -> Double { try present(optionalDouble()) }
    public func bytes() throws(PostgresError) -> [UInt8] { try present(optionalBytes()) }
    public func uuid() throws(PostgresError) -> (high: UInt64, low: UInt64) { try present(optionalUUID()) }
    public func timestampMicroseconds() throws(PostgresError) -> Int64 { try present(optionalTimestampMicroseconds()) }
    public func textArray() throws(PostgresError) -> [String?] { try present(optionalTextArray()) }
    public func int8Array() throws(PostgresError) -> [Int64?] { try present(optionalInt8Array()) }

    private func slice() throws(PostgresError) -> ArraySlice<UInt8>? {
        guard let column else {
            let known = storage.columns.map { "\"\($0)\"" }.joined(separator: ", ")
            throw PostgresError(
                .decoding, message: "the result has no column \"\(name)\"; it has \(known.isEmpty ? "none" : known)")
        }
        let cell = storage.cells[row * storage.columns.count + column]
        return cell.length < 0 ? nil : storage.bytes[cell.start..<cell.start + cell.length]
    }

    private func decoded<Value>(
        _ expected: StaticString, _ decode: (ArraySlice<UInt8>) -> Value?,
        _ decodeBinary: (ArraySlice<UInt8>, TypeOID?) -> Value?
    ) throws(PostgresError) -> Value? {
        guard let bytes = try slice() else { return nil }
        let type = storage.isBinary ? column.flatMap { TypeOID(rawValue: storage.types[$0]) } : nil
        guard let value = storage.isBinary ? decodeBinary(bytes, type) : decode(bytes) else {
            let type = column.map { " (its type OID is \(storage.types[$0]))" } ?? ""
            throw PostgresError(.decoding, message: "column \"\(name)\" in row \(row) is not \(expected)\(type)")
        }
        return value
    }

    private func present<Value>(_ value: Value?) throws(PostgresError) -> Value {
        guard let value else {
            throw PostgresError(
                .decoding, message: "column \"\(name)\" in row \(row) is null; use the optional accessor if it may be")
        }
        return value
    }
}
