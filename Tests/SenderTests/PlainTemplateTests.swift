import TestKit
import Testing

@testable import sender

@Suite struct PlainTemplateTests {
    private static let values: [String: String] = [
        "name": "Ann & \"Bo\" <x> 'y' `z` Zoë", "school": "", "bus_7": "7", "mark": "\u{301}b", "line": "a\r\nb",
    ]

    /// What Mustache makes of it: the section at the end keeps it from being taken for a plain one.
    private static func byMustache(_ template: String) throws -> RenderedMessage {
        let other = template + " {{#none}}{{/none}}."
        return try MessageTemplate(subject: "s", html: other, text: other).render(values)
    }

    private static func octets(_ message: RenderedMessage) -> [[UInt8]?] {
        [message.html.map { Array($0.utf8) }, message.text.map { Array($0.utf8) }]
    }

    @Test func `a plain template reads octet for octet as Mustache renders it`() throws {
        let pieces = [
            "{{name}}", "{{{name}}}", "{{ name }}", "{{absent}}", "{{school}}", "{{bus_7}}", "{{mark}}", "{{line}}",
            "{{&name}}", "{{!c}}", "{{acknowledge_url}}", "{", "}", " { } ", "}}", "a{b:c}", "<a href=\"x\">", "Hi ",
            "\r\n", "\n", "\t", ".", "é", "\u{301}", "👩‍👧",
            "<a href='", "'>", "&amp;", "<!--[if mso]>", "<img src=\"/?q={{name}}#{{name}}\">",
            "<a href=\"{{name}}/{{name}}\">", "?",
        ]
        var random = SeededGenerator(seed: 11)
        var plain = 0
        for _ in 0..<4000 {
            let template = (0..<Int.random(in: 0...7, using: &random)).map { _ in
                pieces.randomElement(using: &random) ?? ""
            }.joined()
            guard let expected = try? Self.byMustache(template),
                let found = try? MessageTemplate(subject: "s", html: template + " .", text: template + " .")
            else { continue }
            if PlainTemplate(template + " .", isMarkup: true) != nil { plain += 1 }
            let rendered = found.render(Self.values)
            #expect(Self.octets(rendered) == Self.octets(expected), "\(template.debugDescription)")
        }
        #expect(plain > 1000)
    }

    @Test func `sections, other values than text and combining neighbours are left to Mustache`() {
        for template in [
            "{{#a}}x{{/a}}", "{{a.b}}", "{{upper(a)}}", "{{a}}\u{301}", "é{{a}}", "{{{a}}", "{{&a}}", "{{!a}}", "x\n\t",
            " ", "{{a}}\r\n ",
        ] {
            #expect(PlainTemplate(template, isMarkup: true) == nil, "\(template)")
        }
        #expect(PlainTemplate("{{n}}", isMarkup: true)?.render(["n": 5]) == nil)
    }
}
