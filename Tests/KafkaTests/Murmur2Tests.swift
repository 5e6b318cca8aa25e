import Kafka
import Testing

@Suite struct Murmur2Tests {
    /// Values of `UtilsTest.testMurmur2` in Apache Kafka's Java client.
    @Test(
        arguments: [
            ("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971), ("abc", 479_470_107),
        ] as [(String, Int)])
    func `hashes are those of the Java client`(_ key: String, _ hash: Int) {
        let positive = Int(UInt32(bitPattern: Int32(hash)) & 0x7fff_ffff)
        for count in [1, 3, 12, 1000] {
            #expect(Murmur2.partition(of: Array(key.utf8), count: count) == positive % count)
        }
    }
}
