import Mail
import Testing

@Suite struct HeaderFaultTests {
    @Test(arguments: [
        ("a\r\nBcc: x", 2), ("a\rb", 2), ("a\nb", 2), ("\0", 1), ("ab\t", 3), ("\u{7F}", 1), ("é\u{85}", 3),
        ("\u{9F}", 1), ("x\u{2028}y", 2), ("x\u{2029}y", 2), ("x\u{1B}[0m", 2), ("e\u{301}\r", 4),
    ]) func `S01: every control octet is found at its place`(_ text: String, _ position: Int) throws {
        let fault = try #require(headerFault(in: text))
        #expect(fault.position == position)
        #expect(fault.reason.contains("Octet \(position) "))
    }

    @Test func `every single control character is refused`() {
        for value in (UInt32(0)..<0xA0).filter({ $0 < 0x20 || $0 > 0x7E }) {
            guard let scalar = Unicode.Scalar(value) else { continue }
            #expect(headerFault(in: "x\(scalar)y")?.scalar == scalar, "U+\(String(value, radix: 16))")
        }
    }

    @Test(arguments: ["", "Snow day", "Schneefrei für alle", "\u{A0}", "例え", "👩‍👩‍👧", "\u{2027}\u{202A}"])
    func `ordinary text passes`(_ text: String) {
        #expect(headerFault(in: text) == nil)
    }
}
