#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// Which statements this session has prepared. Bounded: the least recently used one makes room.
struct StatementCache {
    /// The parameter types belong to the key: the server plans `$1` differently as `text` and as `bigint`.
    struct Key: Hashable {
        let sql: String
        let types: [UInt32]

        init(sql: String, parameters: [PostgresParameter]) {
            self.sql = sql
            self.types = parameters.map(\.type.rawValue)
        }

        /// Bytes, because `String` also equates texts that differ only in Unicode normalization.
        static func == (left: Key, right: Key) -> Bool {
            guard left.types == right.types, left.sql.utf8.count == right.sql.utf8.count else { return false }
            let isSame = unsafe left.sql.utf8.withContiguousStorageIfAvailable { left in
                unsafe right.sql.utf8.withContiguousStorageIfAvailable { right in
                    guard let one = left.baseAddress, let other = right.baseAddress else { return true }
                    return unsafe memcmp(one, other, left.count) == 0
                }
            }
            return (isSame ?? nil) ?? left.sql.utf8.elementsEqual(right.sql.utf8)
        }
    }

    private struct Entry {
        let name: String
        var lastUse: UInt64
    }

    private let capacity: Int
    private var entries: [Key: Entry] = [:]
    private var uses: UInt64 = 0
    private var namesGiven: UInt64 = 0

    init(capacity: Int = 256) { self.capacity = capacity }

    var count: Int { entries.count }

    mutating func name(of key: Key) -> String? {
        guard let index = entries.index(forKey: key) else { return nil }
        uses += 1
        entries.values[index].lastUse = uses
        return entries.values[index].name
    }

    mutating func newName() -> String {
        namesGiven += 1
        return "s\(namesGiven)"
    }

    /// Returns the name of the statement that had to make room.
    mutating func insert(_ key: Key, name: String) -> String? {
        var evicted: String?
        if entries.count >= capacity, let oldest = entries.min(by: { $0.value.lastUse < $1.value.lastUse }) {
            evicted = oldest.value.name
            entries[oldest.key] = nil
        }
        uses += 1
        entries[key] = Entry(name: name, lastUse: uses)
        return evicted
    }

    mutating func remove(_ key: Key) { entries[key] = nil }
}
