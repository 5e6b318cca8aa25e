import Mustache

/// The subject, HTML and text of a blast as parsed Mustache templates.
///
/// Merge values are escaped in the HTML, by where they stand, and nowhere else. An empty value counts as absent, as an empty cell of a list
/// means it: `{{#nickname}}…{{/nickname}}` is left out.
///
/// Refused: partials and inheritance (there is nothing to include), set-delimiter tags (links could not be found any
/// more), pragmas (they would switch the escaping off) and sections nested deeper than `depthMax`.
struct MessageTemplate: Sendable {
    static let depthMax = 32

    enum Part: String, Sendable {
        case subject, html, text
    }

    struct Fault: Error, Sendable, CustomStringConvertible {
        let part: Part
        let reason: String
        var description: String { "\(part.rawValue): \(reason)" }
    }

    private let subject: ParsedTemplate
    private let html: ParsedTemplate?
    private let text: ParsedTemplate?
    /// Whether a personal link may stand in it.
    let hasPersonalLinks: Bool

    init(subject: String, html: String?, text: String?) throws(Fault) {
        hasPersonalLinks = [html, text].contains { template in
            PersonalLink.names.contains { template?.utf8.firstRange(of: $0.utf8) != nil }
        }
        self.subject = try Self.parse(subject, .subject)
        if let html { self.html = try Self.parse(html, .html) } else { self.html = nil }
        if let text { self.text = try Self.parse(text, .text) } else { self.text = nil }
    }

    /// Personal links come out as their stand-ins.
    /// - Parameter values: what stands for each tag: texts, numbers, truth values, lists and dictionaries of these.
    func render(_ values: [String: Any]) -> RenderedMessage {
        let present = values.filter { ($0.value as? String)?.utf8.isEmpty != true }
            .merging(PersonalLink.standIns) { $1 }
        return RenderedMessage(
            subject: subject.render(present), html: html?.render(present), text: text?.render(present))
    }

    /// The parts, when all of them are plain.
    var plain: (subject: PlainTemplate, html: PlainTemplate?, text: PlainTemplate?)? {
        guard let subject = subject.plain, html.map({ $0.plain != nil }) ?? true, text.map({ $0.plain != nil }) ?? true
        else { return nil }
        return (subject, html?.plain, text?.plain)
    }

    private static func parse(_ template: String, _ part: Part) throws(Fault) -> ParsedTemplate {
        try checkTags(template, part)
        do {
            // The pragma stands on a line of its own, which Mustache removes.
            let pragma = (part == .html ? ValueEscape.markup : .none).pragma + "\n"
            let marked = part == .html ? marked(template) : nil
            let mustache = marked.flatMap { try? MustacheTemplate(string: pragma + $0) }
            return ParsedTemplate(
                mustache: try mustache ?? MustacheTemplate(string: pragma + template),
                plain: PlainTemplate(template, isMarkup: part == .html))
        } catch let error as MustacheTemplate.ParserError {
            let place = "line \(error.context.lineNumber - 1), column \(error.context.columnNumber)"
            throw Fault(part: part, reason: "\(place): \(explain(error.error))")
        } catch {
            throw Fault(part: part, reason: "is not a Mustache template")
        }
    }

    /// With the escaping switched at every value in an address; nil without any.
    private static func marked(_ template: String) -> String? {
        let octets = Array(template.utf8)
        let addressed = AnchorScanner.addressedValues(inTemplate: octets)
        guard !addressed.isEmpty else { return nil }
        var result: [UInt8] = []
        var (copied, index) = (0, 0)
        while let start = octets[index...].firstRange(of: "{{".utf8)?.lowerBound {
            let close = octets[start...].starts(with: "{{{".utf8) ? "}}}" : "}}"
            let end = octets[(start + 2)...].firstRange(of: close.utf8)?.upperBound ?? octets.count
            index = end
            guard let escape = addressed[start], !joinsBrace(octets[..<start]) else { continue }
            result += octets[copied..<start]
            result += escape.pragma.utf8
            result += octets[start..<end]
            result += ValueEscape.markup.pragma.utf8
            copied = end
        }
        return String(decoding: result + octets[copied...], as: UTF8.self)
    }

    /// Mustache reads characters, and the brace of a tag may be part of one that begins before it.
    private static func joinsBrace(_ text: ArraySlice<UInt8>) -> Bool {
        guard let last = text.last, last >= 0x80,
            let scalar = String(decoding: text.suffix(4), as: UTF8.self).unicodeScalars.last
        else { return false }
        return "\(scalar){".count == 1
    }

    private static func checkTags(_ template: String, _ part: Part) throws(Fault) {
        var depth = 0
        var rest = Substring(template).utf8
        while let start = rest.firstIndex(of: UInt8(ascii: "{")) {
            rest = rest[start...].dropFirst()
            guard rest.first == UInt8(ascii: "{") else { continue }
            rest = rest.dropFirst()
            switch rest.first {
            case UInt8(ascii: "#"), UInt8(ascii: "^"): depth += 1
            case UInt8(ascii: "/"): depth -= 1
            case UInt8(ascii: ">"), UInt8(ascii: "<"), UInt8(ascii: "$"):
                throw Fault(part: part, reason: "partials and inheritance are not available in a message")
            case UInt8(ascii: "="): throw Fault(part: part, reason: "the delimiters {{ and }} cannot be changed")
            case UInt8(ascii: "%"): throw Fault(part: part, reason: "pragmas ({{% …}}) are not available in a message")
            default: break
            }
            guard depth <= depthMax else {
                throw Fault(part: part, reason: "sections are nested deeper than \(depthMax)")
            }
        }
    }

    private static func explain(_ error: any Error) -> String {
        switch error as? MustacheTemplate.Error {
        case .sectionCloseNameIncorrect: "this section end does not match the open section"
        case .expectedSectionEnd: "a section is not ended"
        case .unfinishedName: "a tag is not finished or its name has a character that is not allowed"
        default: "is not a Mustache template"
        }
    }
}

/// One part: by itself where it is simple, else by Mustache.
private struct ParsedTemplate: Sendable {
    let mustache: MustacheTemplate
    let plain: PlainTemplate?

    func render(_ values: [String: Any]) -> String { plain?.render(values) ?? mustache.render(values) }
}

/// What one recipient would read, before any tracking is put in.
struct RenderedMessage: Sendable, Equatable {
    var subject: String
    var html: String?
    var text: String?

    /// With the personal links in place of their stand-ins.
    func resolved(_ link: (PersonalLink) -> String) -> RenderedMessage {
        RenderedMessage(
            subject: subject, html: html.map { PersonalLink.resolve($0, link) },
            text: text.map { PersonalLink.resolve($0, link) })
    }
}
