import TestKit
import Testing

@testable import sender

@Suite struct `CSV parser` {
    private static func parse(
        _ octets: [UInt8], cut: Int? = nil, limits: ListLimits = ListLimits()
    ) throws(ListFault) -> [CSVRecord] {
        var parser = CSVParser(limits: limits)
        var records: [CSVRecord] = []
        for chunk in chunks(octets, cut: cut) {
            try parser.parse(chunk) { record throws(ListFault) in records.append(record) }
        }
        try parser.finish { record throws(ListFault) in records.append(record) }
        return records
    }

    /// The octets cut once at `cut`, or into single octets at -1.
    static func chunks(_ octets: [UInt8], cut: Int?) -> [[UInt8]] {
        guard let cut else { return [octets] }
        return cut < 0 ? octets.map { [$0] } : [Array(octets[..<cut]), Array(octets[cut...])]
    }

    private static func texts(_ records: [CSVRecord]) -> [[String]] {
        records.map { record in (0..<record.count).map { String(decoding: record[$0], as: UTF8.self) } }
    }

    static let samples: [(text: String, fields: [[String]], lines: [Int])] = [
        ("a,b\r\n1,2\r\n", [["a", "b"], ["1", "2"]], [1, 2]),
        ("a,b\n1,2", [["a", "b"], ["1", "2"]], [1, 2]),
        ("a,b\n\"x, \"\"y\"\"\",2\n", [["a", "b"], ["x, \"y\"", "2"]], [1, 2]),
        ("\"one\r\ntwo\",b\r\nc,d\r\n", [["one\r\ntwo", "b"], ["c", "d"]], [1, 3]),
        ("a\n\n\r\nb\n", [["a"], ["b"]], [1, 4]),
        ("\"\"\n,\n", [[""], ["", ""]], [1, 2]),
        ("a,\n,b\n", [["a", ""], ["", "b"]], [1, 2]),
        ("é,\"ü\"\n", [["é", "ü"]], [1]),
        ("\"\"", [[""]], [1]), ("\"a\"\r\n", [["a"]], [1]), ("", [], []), ("\r\n", [], []),
    ]

    @Test(arguments: samples.indices) func `a text means the same wherever it is cut`(_ index: Int) throws {
        let sample = Self.samples[index]
        let octets = Array(sample.text.utf8)
        for cut in [nil, -1] + (0...octets.count).map({ Optional($0) }) {
            let records = try Self.parse(octets, cut: cut)
            #expect(Self.texts(records) == sample.fields, "cut at \(String(describing: cut))")
            #expect(records.map(\.line) == sample.lines)
        }
    }

    static let faults: [(text: String, line: Int, column: Int?)] = [
        ("a,b\n1,x\"y\n", 2, 2), ("a\n\"x\"y\n", 2, 1), ("a\n1\rb\n", 2, 1), ("a\n1\r", 2, 1),
        ("a,b\n1,\"x\n\ny", 2, 2), ("a\n\"", 2, 1),
    ]

    @Test(arguments: faults.indices) func `what the grammar forbids is refused with its line and column`(_ index: Int)
        throws
    {
        let sample = Self.faults[index]
        let octets = Array(sample.text.utf8)
        for cut in [nil, -1] + (0...octets.count).map({ Optional($0) }) {
            let fault = try #require(throws: ListFault.self) { try Self.parse(octets, cut: cut) }
            #expect(fault.kind == .malformed)
            #expect(fault.line == sample.line)
            #expect(fault.columnNumber == sample.column)
        }
    }

    @Test func `a field, a line and a number of columns have their limit and one more is refused (S07)`() throws {
        var limits = ListLimits()
        limits.fieldOctets = 4
        limits.lineOctets = 12
        limits.columns = 3
        #expect(try Self.parse(Array("1234,1,2\n".utf8), limits: limits).count == 1)
        for (text, line) in [
            ("1,2,3\n12345,1\n", 2), ("1,2,3,4\n", 1), ("a\n\"b\nc\nde", 2), ("a\n123,1234,1234\n", 2),
        ] {
            let fault = try #require(throws: ListFault.self) { try Self.parse(Array(text.utf8), limits: limits) }
            #expect(fault.kind == .tooLong, "\(text)")
            #expect(fault.line == line, "\(text)")
        }
    }

    @Test func `a quote that is never closed cannot swallow a large list`() throws {
        let octets = Array("email\n\"a@b.example\n".utf8) + [UInt8](repeating: 0x61, count: 200_000)
        let fault = try #require(throws: ListFault.self) { try Self.parse(octets) }
        #expect(fault.kind == .tooLong)
        #expect(fault.line == 2)
    }

    @Test func `any octets give records or a fault, the same however they are cut`() throws {
        var random = SeededGenerator(seed: 7)
        let alphabet = Array("a,\"\r\n ;é".utf8)
        for round in 0..<2_000 {
            let octets = (0..<Int.random(in: 0...24, using: &random)).map { _ in alphabet.randomElement(using: &random)!
            }
            let whole = Result { try Self.parse(octets) }
            let cut = Result { try Self.parse(octets, cut: -1) }
            switch (whole, cut) {
            case (.success(let a), .success(let b)): #expect(a == b, "round \(round): \(octets)")
            case (.failure(let a as ListFault), .failure(let b as ListFault)):
                #expect(a == b, "round \(round): \(octets)")
            default: Issue.record("round \(round): \(octets) read differently when cut")
            }
        }
    }
}
