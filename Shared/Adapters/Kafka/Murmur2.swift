/// The hash that places keys on partitions, as in Kafka's Java client and in librdkafka's `murmur2_random`.
public enum Murmur2 {
    /// The partition that a record with this key is produced to when the topic has `count` partitions.
    public static func partition(of key: [UInt8], count: Int) -> Int {
        precondition(count > 0, "a topic has at least one partition")
        return Int(hash(key) & 0x7fff_ffff) % count
    }

    static func hash(_ bytes: [UInt8]) -> UInt32 {
        let multiplier: UInt32 = 0x5bd1_e995
        var hash = 0x9747_b28c ^ UInt32(truncatingIfNeeded: bytes.count)
        var index = 0
        while index + 4 <= bytes.count {
            var block =
                UInt32(bytes[index]) | UInt32(bytes[index + 1]) << 8 | UInt32(bytes[index + 2]) << 16
                | UInt32(bytes[index + 3]) << 24
            block &*= multiplier
            block ^= block >> 24
            block &*= multiplier
            hash &*= multiplier
            hash ^= block
            index += 4
        }
        if index < bytes.count {
            for (shift, byte) in bytes[index...].enumerated() {
                hash ^= UInt32(byte) << UInt32(8 * shift)
            }
            hash &*= multiplier
        }
        hash ^= hash >> 13
        hash &*= multiplier
        hash ^= hash >> 15
        return hash
    }
}
