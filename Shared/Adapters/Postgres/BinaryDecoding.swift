/// PostgreSQL's binary wire forms, read back. Nil for a type that has another form: nothing is guessed.
enum BinaryDecoding {
    typealias Bytes = ArraySlice<UInt8>

    static func int(_ bytes: Bytes, _ type: TypeOID?) -> Int64? {
        switch (type, bytes.count) {
        case (.int8, 8): Int64(bitPattern: word(bytes))
        case (.int4, 4): Int64(Int32(truncatingIfNeeded: word(bytes)))
        case (.int2, 2): Int64(Int16(truncatingIfNeeded: word(bytes)))
        default: nil
        }
    }

    static func bool(_ bytes: Bytes, _ type: TypeOID?) -> Bool? {
        type == .bool && bytes.count == 1 ? bytes.first == 1 : nil
    }

    static func text(_ bytes: Bytes, _ type: TypeOID?) -> String? {
        type == .text ? String(decoding: bytes, as: UTF8.self) : nil
    }

    static func bytes(_ bytes: Bytes, _ type: TypeOID?) -> [UInt8]? { type == .bytea ? Array(bytes) : nil }

    static func uuid(_ bytes: Bytes, _ type: TypeOID?) -> (high: UInt64, low: UInt64)? {
        guard type == .uuid, bytes.count == 16 else { return nil }
        return (word(bytes.prefix(8)), word(bytes.suffix(8)))
    }

    /// The extremes mean infinity, which is nobody's sending time.
    static func timestampMicroseconds(_ bytes: Bytes, _ type: TypeOID?) -> Int64? {
        guard type == .timestamptz, bytes.count == 8 else { return nil }
        let time = Int64(bitPattern: word(bytes))
        guard time != .min, time != .max else { return nil }
        let (unix, overflow) = time.addingReportingOverflow(PostgresEpoch.unixMicroseconds)
        return overflow ? nil : unix
    }

    static func none<Value>(_ bytes: Bytes, _ type: TypeOID?) -> Value? { nil }

    private static func word(_ bytes: Bytes) -> UInt64 {
        var word: UInt64 = 0
        for byte in bytes { word = word << 8 | UInt64(byte) }
        return word
    }
}
