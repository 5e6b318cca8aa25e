#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// PostgreSQL's binary wire forms.
struct BinaryEncoding {
    private(set) var bytes: [UInt8] = []
    private(set) var hasNUL = false

    init(capacity: Int) { bytes.reserveCapacity(capacity) }

    mutating func append<Value: FixedWidthInteger>(_ value: Value) {
        unsafe withUnsafeBytes(of: value.bigEndian) { unsafe bytes.append(contentsOf: $0) }
    }

    mutating func append(_ value: [UInt8]) { bytes.append(contentsOf: value) }

    mutating func append(_ text: String) {
        bytes.append(contentsOf: text.utf8)
        if Self.containsNUL(text) { hasNUL = true }
    }

    private static func containsNUL(_ text: String) -> Bool {
        let found = unsafe text.utf8.withContiguousStorageIfAvailable { octets in
            unsafe octets.baseAddress.map { unsafe memchr($0, 0, octets.count) != nil } ?? false
        }
        return found ?? text.utf8.contains(0)
    }

    /// A one-dimensional array with lower bound 1; an empty one has no dimension.
    mutating func appendArrayHeader(element: TypeOID, count: Int, hasNull: Bool) {
        append(Int32(count == 0 ? 0 : 1))
        append(Int32(hasNull ? 1 : 0))
        append(element.rawValue)
        guard count > 0 else { return }
        append(Int32(truncatingIfNeeded: count))
        append(Int32(1))
    }

    mutating func appendNull() { append(Int32(-1)) }
}

/// Type identities fixed in PostgreSQL's catalogue.
enum TypeOID: UInt32 {
    case unspecified = 0
    case bool = 16
    case bytea = 17
    case int8 = 20
    case int2 = 21
    case int4 = 23
    case text = 25
    case double = 701
    case boolArray = 1000
    case byteaArray = 1001
    case int4Array = 1007
    case textArray = 1009
    case int8Array = 1016
    case timestamptz = 1184
    case timestamptzArray = 1185
    case uuid = 2950
    case uuidArray = 2951
    case jsonb = 3802
}

/// Timestamps travel as microseconds since 2000-01-01 UTC.
enum PostgresEpoch {
    static let unixMicroseconds: Int64 = 946_684_800_000_000

    /// `nil` where PostgreSQL has no such time; its own extremes mean infinity.
    static func microseconds(unix: Int64) -> Int64? {
        let shifted = unix.subtractingReportingOverflow(unixMicroseconds)
        return shifted.overflow || shifted.partialValue == .min ? nil : shifted.partialValue
    }
}
