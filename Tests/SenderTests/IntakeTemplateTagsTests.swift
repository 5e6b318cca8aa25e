import Testing

@testable import sender

@Suite struct `Template tags` {
    @Test func `variables, sections and comments give the names they use`() throws {
        let tags = try TemplateTags(
            "Hi {{ first_name }},{{! a note }}\n{{#bus}}bus {{bus}}{{/bus}}{{^bus}}walk{{/bus}}")
        #expect(tags.names == ["first_name", "bus"])
        #expect(try TemplateTags("no tags, one { and } and {a}").names.isEmpty)
    }

    @Test(arguments: [
        ("Hi {{name", 1, 4), ("a\n{{}}", 2, 3), ("{{a b}}", 1, 1), ("{{#a}}x", 1, 1), ("{{/a}}", 1, 1),
        ("{{#a}}{{/b}}", 1, 7), ("{{>partial}}", 1, 1), ("{{=<% %>=}}", 1, 1), ("{{{raw}}}", 1, 1), ("{{&raw}}", 1, 1),
        ("{{% CONTENT_TYPE:TEXT}}", 1, 1), ("{{$block}}x{{/block}}", 1, 1), ("{{a.b}}", 1, 1), ("{{.}}", 1, 1),
        ("{{uppercased(name)}}", 1, 1), ("{{é}}", 1, 1), ("{{1st}}", 1, 1), ("{{address}}", 1, 1),
    ])
    func `what a message may not contain is refused with its place`(_ template: String, _ line: Int, _ octet: Int)
        throws
    {
        let fault = try #require(throws: TemplateTags.Fault.self) { try TemplateTags(template) }
        #expect(fault.line == line)
        #expect(fault.octet == octet)
    }

    @Test func `deep nesting and very many tags are refused before anything recurses into them`() {
        let deep = String(repeating: "{{#a}}", count: 20_000) + String(repeating: "{{/a}}", count: 20_000)
        #expect(throws: TemplateTags.Fault.self) { try TemplateTags(deep) }
        #expect(throws: TemplateTags.Fault.self) { try TemplateTags(String(repeating: "{{a}}", count: 1_001)) }
        #expect(throws: TemplateTags.Fault.self) { try TemplateTags(String(repeating: "{x", count: 5_001)) }
    }

    @Test func `dispatch can read every template that intake accepts`() throws {
        for template in ["Hi {{name}}", "{{#a}}{{b}}{{/a}}", "{{^a}}\nx\n{{/a}}\n", "{{! c }}"] {
            _ = try TemplateTags(template)
            _ = try MessageTemplate(subject: template, html: template, text: template)
        }
    }
}
