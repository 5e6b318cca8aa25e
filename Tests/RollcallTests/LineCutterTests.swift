import Foundation
import Testing

@testable import rollcall

@Suite struct `Lines of an answer` {
    @Test func `are the same wherever the octets were cut on their way`() {
        let octets = Data("{\"a\":1}\n\n{\"b\":\"ü\"}\n{\"c\":3}".utf8)
        for cut in 0...octets.count {
            var cutter = LineCutter()
            var lines = cutter.add(octets.prefix(cut)) + cutter.add(octets.dropFirst(cut))
            if let last = cutter.last() { lines.append(last) }
            #expect(
                lines.map { String(decoding: $0, as: UTF8.self) } == ["{\"a\":1}", "{\"b\":\"ü\"}", "{\"c\":3}"],
                "cut at \(cut)")
        }
    }
}
