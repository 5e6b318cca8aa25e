import Mail
import Testing

@Suite struct EmailAddressTests {
    struct Good: Sendable, CustomTestStringConvertible {
        let text: String
        let wire: String
        let key: String

        init(_ text: String, wire: String? = nil, key: String) {
            self.text = text
            self.wire = wire ?? text
            self.key = key
        }

        var testDescription: String { text }
    }

    static let good: [Good] = [
        Good("jane@school.example", key: "jane@school.example"),
        Good("Jane.Doe+blast=1@School.Example", key: "jane.doe+blast=1@school.example"),
        Good("!#$%&'*+-/=?^_`{|}~@x.example", key: "!#$%&'*+-/=?^_`{|}~@x.example"),
        Good("\"a b\"@c.example", key: "\"a b\"@c.example"),
        Good("\"a\\\"@b\"@c.example", key: "\"a\\\"@b\"@c.example"),
        Good("\"Jane\"@c.example", key: "jane@c.example"),
        Good("\"\\j\\ane\"@c.example", key: "jane@c.example"),
        Good("a@xn--bcher-kva.example", key: "a@xn--bcher-kva.example"),
        Good("a@bücher.example", wire: "a@xn--bcher-kva.example", key: "a@xn--bcher-kva.example"),
        Good("a@BÜCHER.example", wire: "a@xn--bcher-kva.example", key: "a@xn--bcher-kva.example"),
        Good("a@例え.テスト", wire: "a@xn--r8jz45g.xn--zckzah", key: "a@xn--r8jz45g.xn--zckzah"),
        Good("a@пример.испытание", wire: "a@xn--e1afmkfd.xn--80akhbyknj4f", key: "a@xn--e1afmkfd.xn--80akhbyknj4f"),
        Good("a@straße.example", wire: "a@xn--strae-oqa.example", key: "a@xn--strae-oqa.example"),
        Good("josé@x.example", key: "josé@x.example"),
        Good(String(repeating: "l", count: 64) + "@x.example", key: String(repeating: "l", count: 64) + "@x.example"),
        Good("a@1.2.3.4a", key: "a@1.2.3.4a"),
    ]

    @Test(arguments: good) func `a good address keeps its octets and gets one key`(_ row: Good) throws {
        let address = try EmailAddress(parsing: row.text)
        #expect(Array(address.wireForm.utf8) == Array(row.wire.utf8))
        #expect(Array(address.matchingKey.utf8) == Array(row.key.utf8))
        #expect(row.key.hasSuffix("@" + address.domain))
    }

    static let bad: [(String, AddressFault)] = [
        ("", .empty),
        ("jane", .missingAt),
        ("@x.example", .emptyLocalPart),
        ("\"\"@x.example", .emptyLocalPart),
        ("jane@", .emptyDomain),
        (".jane@x.example", .misplacedDot(position: 1)),
        ("jane.@x.example", .misplacedDot(position: 5)),
        ("ja..ne@x.example", .misplacedDot(position: 4)),
        ("jane@x..example", .emptyLabel(position: 8)),
        ("jane@x.example.", .emptyLabel(position: 16)),
        ("jane@.example", .emptyLabel(position: 6)),
        ("jane@-x.example", .labelHyphen(position: 6)),
        ("jane@x-.example", .labelHyphen(position: 6)),
        ("jane@x_y.example", .unexpectedCharacter("_", position: 7)),
        ("jane@localhost", .domainWithoutDot),
        ("jane@10.0.0.1", .numericTopLevel),
        ("jane@[10.0.0.1]", .addressLiteral),
        ("jane@[IPv6:::1]", .addressLiteral),
        ("<a@b>c@d.example", .unexpectedCharacter("<", position: 1)),
        ("a@b@c.example", .unexpectedCharacter("@", position: 4)),
        ("a b@c.example", .unexpectedCharacter(" ", position: 2)),
        (" a@c.example", .unexpectedCharacter(" ", position: 1)),
        ("a@c.example ", .unexpectedCharacter(" ", position: 12)),
        ("(x)a@c.example", .unexpectedCharacter("(", position: 1)),
        ("a(x)@c.example", .unexpectedCharacter("(", position: 2)),
        ("a@c.example(x)", .unexpectedCharacter("(", position: 12)),
        ("@relay.example:a@c.example", .emptyLocalPart),
        ("group:a@c.example;", .unexpectedCharacter(":", position: 6)),
        ("a@c.example,b@c.example", .unexpectedCharacter(",", position: 12)),
        ("Jane <a@c.example>", .unexpectedCharacter(" ", position: 5)),
        ("\"a@c.example", .unclosedQuote),
        ("\"a\"b@c.example", .unexpectedCharacter("b", position: 4)),
        ("\"a\\", .unclosedQuote),
        ("=?utf-8?q?x=40y?=@z.example", .encodedWord),
        ("a@c.example\r\nRCPT TO:<b@c.example>", .controlCharacter(position: 12)),
        ("a\n@c.example", .controlCharacter(position: 2)),
        ("a\r@c.example", .controlCharacter(position: 2)),
        ("a\0@c.example", .controlCharacter(position: 2)),
        ("a\u{7F}@c.example", .controlCharacter(position: 2)),
        ("a\u{85}@c.example", .controlCharacter(position: 2)),
        ("a\u{2028}@c.example", .controlCharacter(position: 2)),
        ("a\u{200D}@c.example", .unexpectedCharacter("\u{200D}", position: 2)),
        ("a\u{A0}@c.example", .unexpectedCharacter("\u{A0}", position: 2)),
        ("a\u{FFFD}@c.example", .unexpectedCharacter("\u{FFFD}", position: 2)),
        ("a@\u{301}c.example", .decomposedCharacter("\u{301}", position: 3)),
        ("a@bu\u{308}cher.example", .decomposedCharacter("\u{308}", position: 5)),
        ("a@\u{212A}ids.example", .unusableDomainCharacter("\u{212A}", position: 3)),
        ("a@\u{130}x.example", .unusableDomainCharacter("\u{130}", position: 3)),
        ("a@c\u{200D}d.example", .unusableDomainCharacter("\u{200D}", position: 4)),
        ("a@c\u{3002}example", .unusableDomainCharacter("\u{3002}", position: 4)),
        ("a@\u{FF41}b.example", .unusableDomainCharacter("\u{FF41}", position: 3)),
        ("a@bü\u{FF20}c.example", .unusableDomainCharacter("\u{FF20}", position: 6)),
        ("a@xn--ü.example", .labelHyphen(position: 3)),
        (String(repeating: "l", count: 65) + "@x.example", .localPartTooLong(octets: 65)),
        ("a@" + String(repeating: "l", count: 64) + ".example", .labelTooLong(octets: 64, position: 3)),
        ("a@" + String(repeating: "abcdefg.", count: 32) + "example", .domainTooLong(octets: 263)),
        ("abcd@" + String(repeating: "abcdefg.", count: 30) + "abcdefghij", .tooLong(octets: 255)),
    ]

    @Test(arguments: bad) func `a bad address is refused with its place`(_ text: String, _ fault: AddressFault) {
        #expect(throws: fault) { try EmailAddress(parsing: text) }
        #expect(fault.reason.hasSuffix("."))
    }

    @Test func `an address of 254 octets passes`() throws {
        let text = "abc@" + String(repeating: "abcdefg.", count: 30) + "abcdefghij"
        #expect(text.utf8.count == 254)
        #expect(try EmailAddress(parsing: text).wireForm == text)
    }

    @Test func `a reason shows no control character`() throws {
        let fault = #expect(throws: AddressFault.self) { try EmailAddress(parsing: "a@c\u{202E}d.example") }
        let reason = try #require(fault?.reason)
        #expect(reason.contains("U+202E"))
        #expect(headerFault(in: reason) == nil)
        #expect(!reason.unicodeScalars.contains("\u{202E}"))
    }

    @Test func `composed and decomposed mailbox names are different addresses`() throws {
        let composed = try EmailAddress(parsing: "jos\u{E9}@x.example")
        let decomposed = try EmailAddress(parsing: "jose\u{301}@x.example")
        #expect(composed.wireForm == decomposed.wireForm)
        #expect(composed != decomposed)
        #expect(Set([composed, decomposed]).count == 2)
        #expect(composed.needsSMTPUTF8)
    }

    @Test func `addresses that differ only in case or needless quotes are equal`() throws {
        let plain = try EmailAddress(parsing: "jane@x.example")
        #expect(try plain == EmailAddress(parsing: "\"Jane\"@X.EXAMPLE"))
        #expect(try plain != EmailAddress(parsing: "jane@y.example"))
    }
}
