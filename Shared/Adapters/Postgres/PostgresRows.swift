/// The outcome of one statement: its rows, and how many it touched.
///
/// All values stay in one buffer as the server wrote them and are decoded on access.
public struct PostgresRows: Sendable, RandomAccessCollection {
    let storage: Storage

    /// Rows inserted, updated, deleted, copied or selected.
    public var affectedRows: Int { storage.affectedRows }

    public var columns: [String] { storage.columns }

    public var startIndex: Int { 0 }
    public var endIndex: Int { storage.rowCount }
    public subscript(position: Int) -> PostgresRow {
        precondition(position >= 0 && position < storage.rowCount, "row \(position) of \(storage.rowCount)")
        return PostgresRow(storage: storage, row: position)
    }

    static let none = PostgresRows(
        storage: Storage(columns: [], types: [], rowCount: 0, affectedRows: 0, tag: "", cells: [], bytes: []))

    struct Cell: Sendable {
        let start: Int
        /// Negative for null.
        let length: Int
    }

    final class Storage: Sendable {
        let columns: [String]
        let types: [UInt32]
        let rowCount: Int
        let affectedRows: Int
        let tag: String
        let cells: [Cell]
        let bytes: [UInt8]
        let isBinary: Bool

        init(
            columns: [String], types: [UInt32], rowCount: Int, affectedRows: Int, tag: String, cells: [Cell],
            bytes: [UInt8], isBinary: Bool = false
        ) {
            self.columns = columns
            self.types = types
            self.rowCount = rowCount
            self.affectedRows = affectedRows
            self.tag = tag
            self.cells = cells
            self.bytes = bytes
            self.isBinary = isBinary
        }
    }
}

/// One row. Accessors throw `PostgresError.decoding` that names the column; none of them guesses.
public struct PostgresRow: Sendable {
    let storage: PostgresRows.Storage
    let row: Int

    public var count: Int { storage.columns.count }

    public subscript(index: Int) -> PostgresCell {
        precondition(index >= 0 && index < storage.columns.count, "column \(index) of \(storage.columns.count)")
        return PostgresCell(storage: storage, row: row, column: index, name: storage.columns[index])
    }

    /// The first column of that name. A name the result lacks gives a cell whose accessors throw.
    public subscript(name: String) -> PostgresCell {
        PostgresCell(
            storage: storage, row: row, column: storage.columns.firstIndex { $0 == name }, name: name)
    }

    public func isNull(_ name: String) throws(PostgresError) -> Bool { try self[name].isNull() }

    public func string(_ name: String) throws(PostgresError) -> String { try self[name].string() }
    public func optionalString(_ name: String) throws(PostgresError) -> String? { try self[name].optionalString() }
    public func int(_ name: String) throws(PostgresError) -> Int64 { try self[name].int() }
    public func optionalInt(_ name: String) throws(PostgresError) -> Int64? { try self[name].optionalInt() }
    public func int32(_ name: String) throws(PostgresError) -> Int32 { try self[name].int32() }
    public func optionalInt32(_ name: String) throws(PostgresError) -> Int32? { try self[name].optionalInt32() }
    public func bool(_ name: String) throws(PostgresError) -> Bool { try self[name].bool() }
    public func optionalBool(_ name: String) throws(PostgresError) -> Bool? { try self[name].optionalBool() }
    public func double(_ name: String) throws(PostgresError) -> Double { try self[name].double() }
    public func optionalDouble(_ name: String) throws(PostgresError) -> Double? { try self[name].optionalDouble() }
    public func bytes(_ name: String) throws(PostgresError) -> [UInt8] { try self[name].bytes() }
    public func optionalBytes(_ name: String) throws(PostgresError) -> [UInt8]? { try self[name].optionalBytes() }
    public func uuid(_ name: String) throws(PostgresError) -> (high: UInt64, low: UInt64) { try self[name].uuid() }
    public func optionalUUID(_ name: String) throws(PostgresError) -> (high: UInt64, low: UInt64)? {
        try self[name].optionalUUID()
    }

    /// Microseconds since 1970-01-01 UTC, from `timestamptz` or a `timestamp` that means UTC.
    public func timestampMicroseconds(_ name: String) throws(PostgresError) -> Int64 {
        try self[name].timestampMicroseconds()
    }
    public func optionalTimestampMicroseconds(_ name: String) throws(PostgresError) -> Int64? {
        try self[name].optionalTimestampMicroseconds()
    }

    public func textArray(_ name: String) throws(PostgresError) -> [String?] { try self[name].textArray() }
    public func optionalTextArray(_ name: String) throws(PostgresError) -> [String?]? {
        try self[name].optionalTextArray()
    }
    public func int8Array(_ name: String) throws(PostgresError) -> [Int64?] { try self[name].int8Array() }
    public func optionalInt8Array(_ name: String) throws(PostgresError) -> [Int64?]? {
        try self[name].optionalInt8Array()
    }
}
