import Mustache

/// What a template asks for: the names of its tags.
///
/// Templates are Mustache with variables (`{{first_name}}`), sections over a field that may be empty
/// (`{{#bus}}…{{/bus}}`, `{{^bus}}…{{/bus}}`) and comments. The rest of the language is refused: partials, blocks and
/// pragmas could change what is escaped, unescaped variables would put a list's values into the page as HTML, and
/// transforms and dotted names have no meaning for texts.
struct TemplateTags: Equatable {
    struct Fault: Error, Equatable {
        /// From 1.
        let line: Int
        /// The octet of the template at which the tag begins, from 1.
        let octet: Int
        let reason: String
    }

    /// Names that every list's recipients have, without a merge field.
    static let builtIn: Set<String> = ["email", "name", "person_ref", "person_kind", "school", "locale"]
    static let nameOctets = 64
    static let depthMax = 16
    static let tagsMax = 1_000
    /// The Mustache parser measures the rest of the template at every opening brace.
    static let bracesMax = 5_000

    private static let reserved = ["address": "email", "person": "person_ref"]

    let names: Set<String>

    init(_ template: String) throws(Fault) {
        var scanner = Scanner(octets: Array(template.utf8))
        try scanner.scan()
        do {
            _ = try MustacheTemplate(string: template)
        } catch let error as MustacheTemplate.ParserError {
            throw Fault(
                line: error.context.lineNumber, octet: 1,
                reason: "the template cannot be read near column \(error.context.columnNumber)")
        } catch {
            throw Fault(line: 1, octet: 1, reason: "the template cannot be read")
        }
        names = scanner.names
    }

    static func isName(_ text: String) -> Bool { isName(Array(text.utf8)[...]) }

    private static func isName(_ octets: ArraySlice<UInt8>) -> Bool {
        guard let first = octets.first, octets.count <= nameOctets, isLetter(first) else { return false }
        return octets.allSatisfy { isLetter($0) || (0x30...0x39).contains($0) || $0 == 0x2D }
    }

    private static func isLetter(_ octet: UInt8) -> Bool {
        (0x41...0x5A).contains(octet) || (0x61...0x7A).contains(octet) || octet == 0x5F
    }

    private struct Scanner {
        let octets: [UInt8]
        var names: Set<String> = []
        var open: [(name: String, at: Int)] = []
        var tags = 0
        var index = 0

        init(octets: [UInt8]) { self.octets = octets }

        mutating func scan() throws(Fault) {
            guard octets.count(where: { $0 == 0x7B }) <= TemplateTags.bracesMax else {
                throw fault(0, "the template has more than \(TemplateTags.bracesMax) opening braces")
            }
            while let start = find([0x7B, 0x7B], from: index) {
                tags += 1
                guard tags <= TemplateTags.tagsMax else {
                    throw fault(start, "the template has more than \(TemplateTags.tagsMax) tags")
                }
                guard let end = find([0x7D, 0x7D], from: start + 2) else {
                    throw fault(start, "a tag is opened by {{ and never closed by }}")
                }
                try read(octets[(start + 2)..<end], at: start)
                index = end + 2
            }
            if let last = open.last { throw fault(last.at, "the section \(last.name) is never closed") }
        }

        private mutating func read(_ content: ArraySlice<UInt8>, at start: Int) throws(Fault) {
            switch content.first {
            case UInt8(ascii: "!"): return
            case UInt8(ascii: "#"), UInt8(ascii: "^"):
                open.append((try name(content.dropFirst(), start), start))
                guard open.count <= TemplateTags.depthMax else {
                    throw fault(start, "sections are nested deeper than \(TemplateTags.depthMax)")
                }
            case UInt8(ascii: "/"):
                let name = try name(content.dropFirst(), start)
                guard let last = open.popLast() else {
                    throw fault(start, "the section \(name) is closed but was never opened")
                }
                guard last.name == name else {
                    throw fault(start, "the section \(name) is closed where \(last.name) is open")
                }
            case UInt8(ascii: "{"), UInt8(ascii: "&"):
                throw fault(start, "unescaped variables are not allowed; write {{name}}")
            case UInt8(ascii: ">"), UInt8(ascii: "<"), UInt8(ascii: "$"), UInt8(ascii: "="), UInt8(ascii: "%"):
                throw fault(start, "partials, blocks, delimiters and pragmas are not allowed; write {{name}}")
            default: _ = try name(content, start)
            }
        }

        private mutating func name(_ content: ArraySlice<UInt8>, _ start: Int) throws(Fault) -> String {
            let trimmed = CellText.trim(content)
            guard TemplateTags.isName(trimmed) else {
                throw fault(
                    start,
                    "a tag holds one field's name, made of letters, digits, _ and -, which begins with a letter or _")
            }
            let name = String(decoding: trimmed, as: UTF8.self)
            if let better = TemplateTags.reserved[name] {
                throw fault(start, "the name \(name) is a column of the list; in a template write {{\(better)}}")
            }
            names.insert(name)
            return name
        }

        private func find(_ pair: [UInt8], from start: Int) -> Int? {
            var position = start
            while position + 1 < octets.count {
                if octets[position] == pair[0], octets[position + 1] == pair[1] { return position }
                position += 1
            }
            return nil
        }

        private func fault(_ start: Int, _ reason: String) -> Fault {
            Fault(line: octets[..<start].count { $0 == 0x0A } + 1, octet: start + 1, reason: reason)
        }
    }
}
