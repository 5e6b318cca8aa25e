/// Looks at the first octets of a list: skips a UTF-8 byte order mark, and names what is plainly another kind of file.
struct ListPreface {
    private var head: [UInt8]? = []

    /// The octets that belong to the list; empty while too few have come to tell.
    mutating func pass(_ chunk: [UInt8]) throws(ListFault) -> [UInt8] {
        guard var head else { return chunk }
        head += chunk
        guard head.count >= 4 else {
            self.head = head
            return []
        }
        return try settle(head)
    }

    /// The list has ended: what is still held back.
    mutating func finish() throws(ListFault) -> [UInt8] {
        guard let head else { return [] }
        return try settle(head)
    }

    private mutating func settle(_ octets: [UInt8]) throws(ListFault) -> [UInt8] {
        head = nil
        for (magic, kind) in Self.foreign where octets.starts(with: magic) {
            let advice = magic == Self.gzip ? "send it with Content-Encoding: gzip" : "save the list as CSV in UTF-8"
            throw ListFault(.encoding, line: 1, octet: 1, reason: "this is \(kind); \(advice)")
        }
        return octets.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(octets.dropFirst(3)) : octets
    }

    private static let gzip: [UInt8] = [0x1F, 0x8B]
    private static let foreign: [(magic: [UInt8], kind: String)] = [
        ([0xFF, 0xFE], "a text in UTF-16"), ([0xFE, 0xFF], "a text in UTF-16"),
        ([0x50, 0x4B, 0x03, 0x04], "a ZIP archive or an Excel workbook"), (gzip, "a gzip archive"),
        ([0xD0, 0xCF, 0x11, 0xE0], "an old Excel workbook"), ([0x25, 0x50, 0x44, 0x46], "a PDF document"),
    ]
}
