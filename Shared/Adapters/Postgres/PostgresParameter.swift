/// A value for `$1`, `$2`, … together with its PostgreSQL type, so that most SQL needs no cast.
///
/// Values travel in binary form. Prefer a typed null (`.text(nil)`) to `nil`: a bare `nil` leaves the type to the
/// server and makes a prepared statement of its own.
///
/// Making a parameter never fails; a value PostgreSQL cannot store (NUL in a text, a time out of range) makes the query
/// throw `PostgresError.invalidParameter` before anything is sent.
public struct PostgresParameter: Sendable {
    let type: TypeOID
    let value: [UInt8]?
    let defect: String?

    init(_ type: TypeOID, _ value: [UInt8]?, defect: String? = nil) {
        self.type = type
        self.value = value
        self.defect = defect
    }

    init(_ type: TypeOID, _ encoding: BinaryEncoding) {
        self.init(type, encoding.bytes, defect: encoding.hasNUL ? Self.nulDefect : nil)
    }

    static let nulDefect = "text contains the character U+0000, which PostgreSQL cannot store; remove it"
    static let timeDefect = "timestamp is out of PostgreSQL's range"

    /// Null of a type the server infers.
    public static let null = PostgresParameter(.unspecified, nil)

    public static func text(_ value: String?) -> Self {
        guard let value else { return Self(.text, nil) }
        var encoding = BinaryEncoding(capacity: value.utf8.count)
        encoding.append(value)
        return Self(.text, encoding)
    }

    /// `bigint`. Assignable to smaller integer columns; a function that takes `integer` needs `.int4` or a cast.
    public static func int(_ value: Int64?) -> Self { integer(.int8, value) }

    /// `integer`.
    public static func int4(_ value: Int32?) -> Self { integer(.int4, value) }

    public static func bool(_ value: Bool?) -> Self { Self(.bool, value.map { [$0 ? 1 : 0] }) }

    public static func double(_ value: Double?) -> Self { integer(.double, value?.bitPattern) }

    /// `bytea`.
    public static func bytes(_ value: [UInt8]?) -> Self { Self(.bytea, value) }

    public static func uuid(high: UInt64, low: UInt64) -> Self {
        var encoding = BinaryEncoding(capacity: 16)
        encoding.append(high)
        encoding.append(low)
        return Self(.uuid, encoding)
    }

    public static func uuid(_ value: (high: UInt64, low: UInt64)?) -> Self {
        value.map { uuid(high: $0.high, low: $0.low) } ?? Self(.uuid, nil)
    }

    /// `timestamptz`, microseconds since 1970-01-01 UTC.
    public static func timestampMicroseconds(_ value: Int64?) -> Self {
        guard let value else { return Self(.timestamptz, nil) }
        guard let time = PostgresEpoch.microseconds(unix: value) else {
            return Self(.timestamptz, nil, defect: timeDefect)
        }
        return integer(.timestamptz, time)
    }

    /// `jsonb`; assignable to `json` columns.
    public static func json(_ value: String?) -> Self {
        guard let value else { return Self(.jsonb, nil) }
        var encoding = BinaryEncoding(capacity: value.utf8.count + 1)
        encoding.append(jsonbVersion)
        encoding.append(value)
        return Self(.jsonb, encoding)
    }

    static let jsonbVersion: UInt8 = 1

    private static func integer<Value: FixedWidthInteger>(_ type: TypeOID, _ value: Value?) -> Self {
        guard let value else { return Self(type, nil) }
        var encoding = BinaryEncoding(capacity: Value.bitWidth / 8)
        encoding.append(value)
        return Self(type, encoding)
    }
}

extension PostgresParameter: ExpressibleByNilLiteral, ExpressibleByIntegerLiteral, ExpressibleByStringLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByFloatLiteral
{
    public init(nilLiteral: ()) { self = .null }
    public init(integerLiteral value: Int64) { self = .int(value) }
    public init(stringLiteral value: String) { self = .text(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(floatLiteral value: Double) { self = .double(value) }
}

/// Arrays, for `unnest($1, $2, …)` and `= ANY ($1)`.
extension PostgresParameter {
    public static func textArray(_ values: [String?]) -> Self {
        array(.textArray, of: .text, values, size: { $0.utf8.count }, encode: { $0.append($1) })
    }

    public static func textArray(_ values: [String]) -> Self { textArray(values.map(Optional.some)) }

    public static func int4Array(_ values: [Int32]) -> Self {
        array(.int4Array, of: .int4, values, size: { _ in 4 }, encode: { $0.append($1) })
    }

    public static func int8Array(_ values: [Int64]) -> Self {
        array(.int8Array, of: .int8, values, size: { _ in 8 }, encode: { $0.append($1) })
    }

    public static func int8OptionalArray(_ values: [Int64?]) -> Self {
        array(.int8Array, of: .int8, values, size: { _ in 8 }, encode: { $0.append($1) })
    }

    public static func boolArray(_ values: [Bool]) -> Self {
        array(.boolArray, of: .bool, values, size: { _ in 1 }, encode: { $0.append($1 ? 1 : 0 as UInt8) })
    }

    public static func byteaArray(_ values: [[UInt8]?]) -> Self {
        array(.byteaArray, of: .bytea, values, size: \.count, encode: { $0.append($1) })
    }

    public static func uuidArray(_ values: [(high: UInt64, low: UInt64)]) -> Self {
        array(
            .uuidArray, of: .uuid, values, size: { _ in 16 },
            encode: { encoding, value in
                encoding.append(value.high)
                encoding.append(value.low)
            })
    }

    /// `timestamptz[]`, microseconds since 1970-01-01 UTC.
    public static func timestampArray(_ values: [Int64?]) -> Self {
        var times: [Int64?] = []
        times.reserveCapacity(values.count)
        for value in values {
            guard let value else {
                times.append(nil)
                continue
            }
            guard let time = PostgresEpoch.microseconds(unix: value) else {
                return Self(.timestamptzArray, nil, defect: timeDefect)
            }
            times.append(time)
        }
        return array(.timestamptzArray, of: .timestamptz, times, size: { _ in 8 }, encode: { $0.append($1) })
    }

    private static func array<Value>(
        _ type: TypeOID, of element: TypeOID, _ values: [Value?], size: (Value) -> Int,
        encode: (inout BinaryEncoding, Value) -> Void
    ) -> Self {
        var capacity = 20
        var hasNull = false
        for value in values {
            capacity += 4 + (value.map(size) ?? 0)
            if value == nil { hasNull = true }
        }
        var encoding = BinaryEncoding(capacity: capacity)
        encoding.appendArrayHeader(element: element, count: values.count, hasNull: hasNull)
        for value in values {
            guard let value else {
                encoding.appendNull()
                continue
            }
            encoding.append(Int32(truncatingIfNeeded: size(value)))
            encode(&encoding, value)
        }
        return Self(type, encoding)
    }
}
