import Mail
import Mustache

/// How a merge value is written where it stands, so that it stays a value there. Octet by octet: a mark followed by a
/// combining character is one `Character`, and a browser still sees the mark.
enum ValueEscape: Int, Sendable, CaseIterable {
    /// As it is: in subjects and texts.
    case none
    /// In text and quoted attributes of HTML.
    case markup
    /// In an address (RFC 3986) where it may be several parts of it: what delimits them, and percent-encoded octets, stay.
    case path
    /// In the query or the fragment of an address: everything but unreserved characters is percent-encoded.
    case query

    func callAsFunction(_ text: [UInt8]) -> [UInt8] {
        switch self {
        case .none: text
        case .markup: MarkupText.escape(text)
        case .path: MarkupText.escape(Self.encode(text, keeping: { Self.isUnreserved($0) || Self.isReserved($0) }))
        case .query: Self.encode(text, keeping: Self.isUnreserved)
        }
    }

    func callAsFunction(_ text: String) -> String { String(decoding: self(Array(text.utf8)), as: UTF8.self) }

    /// False only when the text stays as it is.
    func mayChange(_ text: [UInt8]) -> Bool {
        switch self {
        case .none: false
        case .markup: MarkupText.needsEscape(text)
        case .path, .query: !text.allSatisfy(Self.isUnreserved)
        }
    }

    /// - Parameter keeps: with reserved characters, an octet that is percent-encoded already stays so as well.
    private static func encode(_ text: [UInt8], keeping keeps: (UInt8) -> Bool) -> [UInt8] {
        let keepsEncoded = keeps(UInt8(ascii: "/"))
        var result: [UInt8] = []
        result.reserveCapacity(text.count + 16)
        for (index, octet) in text.enumerated() {
            if keeps(octet) || keepsEncoded && isEncoded(text[index...]) {
                result.append(octet)
            } else {
                result += [UInt8(ascii: "%"), hexadecimal[Int(octet >> 4)], hexadecimal[Int(octet & 15)]]
            }
        }
        return result
    }

    private static let hexadecimal = Array("0123456789ABCDEF".utf8)
    private static let reserved = Set(":/?#[]@!$&'()*+,;=".utf8)

    private static func isReserved(_ octet: UInt8) -> Bool { reserved.contains(octet) }

    private static func isUnreserved(_ octet: UInt8) -> Bool {
        (0x30...0x39).contains(octet) || (0x61...0x7A).contains(octet | 0x20) && octet & 0x40 != 0
            || octet == 0x2D || octet == 0x2E || octet == 0x5F || octet == 0x7E
    }

    private static func isEncoded(_ text: ArraySlice<UInt8>) -> Bool {
        text.first == UInt8(ascii: "%") && text.count >= 3
            && text.dropFirst().prefix(2).allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0 | 0x20) }
    }
}

extension ValueEscape {
    /// The tag after which Mustache escapes values this way.
    var pragma: String { "{{% CONTENT_TYPE:\(Self.registered[self] ?? "TEXT")}}" }

    private static let registered = {
        let names: [ValueEscape: String] = [
            .markup: "MARKUP", .path: "PATH", .query: "QUERY",
        ]
        for (escape, name) in names { MustacheContentTypes.register(Content(escape: escape), named: name) }
        return names
    }()

    private struct Content: MustacheContentType {
        let escape: ValueEscape

        func escapeText(_ text: String) -> String { escape(text) }
    }
}
