import Foundation
import Inflate
import TestKit
import Testing

@Suite struct `A gzip stream` {
    private static func inflate(_ data: Data, cut: Int, limit: Int = 1 << 24) throws -> [UInt8] {
        let handle = try InflateHandle(limit: limit)
        var result: [UInt8] = []
        var rest = Array(data)[...]
        while !rest.isEmpty {
            handle.feed(Array(rest.prefix(cut)))
            rest = rest.dropFirst(cut)
            while let piece = try handle.next() {
                #expect(!piece.isEmpty && piece.count <= InflateHandle.pieceOctets)
                result += piece
            }
        }
        try handle.finish()
        return result
    }

    private static func sample(_ lines: Int) -> Data {
        Data((0..<lines).map { "parent\($0 &* 7919 % 65_537)@school.example,\($0)\n" }.joined().utf8)
    }

    @Test(arguments: [1, 2, 3, 7, 100, 1 << 20]) func `comes out whole, wherever it is cut`(cut: Int) async throws {
        let plain = Self.sample(5_000)
        let packed = try await `Intake takes a list in, compressed and in parts`.gzip(plain)
        #expect(try Self.inflate(packed, cut: cut) == Array(plain))
        #expect(try Self.inflate(packed + packed, cut: cut) == Array(plain + plain))
    }

    @Test func `cut short anywhere it is never taken for whole`() async throws {
        let packed = try await `Intake takes a list in, compressed and in parts`.gzip(Self.sample(30))
        for length in 0..<packed.count {
            #expect(throws: InflateFault.truncated) { try Self.inflate(packed.prefix(length), cut: 64) }
        }
    }

    @Test func `changed anywhere in its data it is refused`() async throws {
        let plain = Self.sample(30)
        let packed = try await `Intake takes a list in, compressed and in parts`.gzip(plain)
        // Behind the header, whose time and name say nothing about the data.
        let start = 10 + (packed.dropFirst(10).firstIndex(of: 0).map { $0 - packed.startIndex - 9 } ?? 0)
        for position in start..<packed.count {
            var changed = packed
            changed[changed.startIndex + position] ^= 0x10
            #expect(throws: InflateFault.self, "at \(position)") { try Self.inflate(changed, cut: 64) }
        }
    }

    @Test func `stops at the limit and at the ratio, long before it is unpacked`() async throws {
        let packed = try await `Intake takes a list in, compressed and in parts`.gzip(Self.sample(5_000))
        #expect(throws: InflateFault.tooLarge) { try Self.inflate(packed, cut: 4096, limit: 1000) }
        let zeros = try await `Intake takes a list in, compressed and in parts`.gzip(Data(count: 64 << 20))
        let handle = try InflateHandle(limit: 1 << 30)
        handle.feed(Array(zeros))
        var octets = 0
        #expect(throws: InflateFault.bomb) { while let piece = try handle.next() { octets += piece.count } }
        #expect(octets <= InflateHandle.ratioFrom)
    }
}
