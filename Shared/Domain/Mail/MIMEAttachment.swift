/// A file that goes with a message, encoded once for all messages that carry it.
public struct MIMEAttachment: Sendable {
    public let name: String
    public let mediaType: String
    /// Headers and base64 lines of its part.
    let part: [UInt8]
    /// Octets it adds to a message, and to memory.
    public var encodedCount: Int { part.count }

    /// - Throws: `MIMEFault.attachment` for a name or a type that cannot stand in a header.
    public init(name: String, mediaType: String, content: [UInt8]) throws(MIMEFault) {
        if let reason = Self.fault(inName: name) ?? Self.fault(inType: mediaType) { throw .attachment(reason) }
        self.name = name
        self.mediaType = mediaType
        var part = Array("Content-Type: \(mediaType)\r\nContent-Transfer-Encoding: base64\r\n".utf8)
        part += Array("Content-Disposition: attachment;\r\n \(Self.parameter(name))\r\n\r\n".utf8)
        part.reserveCapacity(part.count + content.count * 4 / 3 + content.count / 28 + 8)
        var start = 0
        while start < content.count {
            let end = min(start + 57, content.count)
            part += Base64.encode(content[start..<end])
            part += [0x0D, 0x0A]
            start = end
        }
        self.part = part
    }

    /// What is wrong with a file's name; nil when it can be used.
    public static func fault(inName name: String) -> String? {
        guard (1...200).contains(name.utf8.count) else { return "A file's name has 1 to 200 octets." }
        guard !name.utf8.contains(where: { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") }),
            name.utf8.first != UInt8(ascii: ".")
        else { return "A file's name has no slash or backslash and does not begin with a dot." }
        return headerFault(in: name)?.reason
    }

    /// What is wrong with a media type; nil when it can be used. Types that have parts of their own are not files.
    public static func fault(inType type: String) -> String? {
        let parts = type.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        let isType =
            parts.count == 2
            && parts.allSatisfy { part in
                (1...100).contains(part.count)
                    && part.allSatisfy { ASCII.isLetterOrDigit($0) || "!#$&-^_.+".utf8.contains($0) }
            }
        guard isType else { return "A media type is written like application/pdf, without parameters." }
        let family = String(decoding: parts[0].map(ASCII.lowered), as: UTF8.self)
        guard family != "multipart", family != "message" else { return "A file is not of the type \(family)." }
        return nil
    }

    /// RFC 2183, and RFC 2231 for what is not plain.
    private static func parameter(_ name: String) -> String {
        let isPlain = name.utf8.allSatisfy { (0x20...0x7E).contains($0) && $0 != UInt8(ascii: "\"") }
        guard !isPlain || name.utf8.count > 60 else { return "filename=\"\(name)\"" }
        let digits = Array("0123456789ABCDEF".utf8)
        var encoded: [UInt8] = []
        for octet in name.utf8 {
            if ASCII.isLetterOrDigit(octet) || octet == 0x2D || octet == 0x2E || octet == 0x5F {
                encoded.append(octet)
            } else {
                encoded += [UInt8(ascii: "%"), digits[Int(octet >> 4)], digits[Int(octet & 15)]]
            }
        }
        return "filename*=UTF-8''\(String(decoding: encoded, as: UTF8.self))"
    }
}
