/// Finds the `href` values of `<a>` tags in HTML, octet by octet, the way a browser's tokenizer would see them; in a
/// template also the merge values that stand in addresses, whichever tag has them.
///
/// Comments and the contents of `script`, `style`, `textarea` and `title` are passed over. In a template, Mustache tags
/// are passed over as well, wherever they stand, so that a `>` or a quote inside one ends nothing.
struct AnchorScanner {
    private let html: [UInt8]
    private let isTemplate: Bool
    private var index = 0
    private var found: [Range<Int>] = []
    /// Where the last tag or comment ended.
    private var settled = 0
    /// No merge value can make another thing of a template, if it has no angle bracket and no quotation mark.
    private var isFixed = true
    /// Where the first value stands that is part of a tag and in no quotation marks.
    private var bare: Int?
    private var addressed: [Int: ValueEscape] = [:]
    /// This is the inside of a conditional comment, of which there is none in another.
    private var isConditional = false

    /// The range of each value without its quotes, in order.
    static func hrefs(in html: [UInt8], isTemplate: Bool) -> [Range<Int>] {
        var scanner = AnchorScanner(html: html, isTemplate: isTemplate)
        scanner.scan()
        return scanner.found
    }

    /// The same of a template, when whatever is merged into it leaves them where they are: values without angle brackets
    /// and quotation marks, in texts, comments and quoted attributes. Else nil.
    static func fixedHrefs(inTemplate html: [UInt8]) -> [Range<Int>]? {
        var scanner = AnchorScanner(html: html, isTemplate: true)
        scanner.scan()
        return scanner.isFixed ? scanner.found : nil
    }

    /// Where a template lets a value be part of a tag, outside of quotation marks: there no escaping keeps it from adding
    /// attributes.
    static func bareValue(inTemplate html: [UInt8]) -> Int? {
        var scanner = AnchorScanner(html: html, isTemplate: true)
        scanner.scan()
        return scanner.bare
    }

    /// The values that stand in an address behind its beginning, by the octet where their tag begins: how they are
    /// escaped there. One that begins an address may be all of it, and is not among them; nor is a personal link.
    static func addressedValues(inTemplate html: [UInt8]) -> [Int: ValueEscape] {
        var scanner = AnchorScanner(html: html, isTemplate: true)
        scanner.scan()
        return scanner.addressed
    }

    private init(html: [UInt8], isTemplate: Bool) {
        self.html = html
        self.isTemplate = isTemplate
    }

    private mutating func scan() {
        while index < html.count {
            if isTemplate, isAt("{{") {
                if holdsTag(before: index, within: 3) { isFixed = false }
                if html[..<index].last == UInt8(ascii: "<") || html[..<index].suffix(2).elementsEqual("</".utf8) {
                    noteValue()
                }
            }
            if skipMustache() { continue }
            guard html[index] == UInt8(ascii: "<") else {
                index += 1
                continue
            }
            if isAt("<!--") {
                let start = index + 4
                skip(past: "-->", from: start)
                checkComment(start..<index)
                noteConditional(start..<index)
                settled = index
            } else {
                index += 1
                scanTag()
            }
        }
    }

    /// Standing behind `<`.
    private mutating func scanTag() {
        let start = index
        while index < html.count, Self.isLetterOrDigit(html[index]) { index += 1 }
        guard index > start, !Self.isDigit(html[start]) else { return }
        let name = String(decoding: html[start..<index].map(Self.lowered), as: UTF8.self)
        let href = scanAttributes()
        settled = index
        if name == "a", let href { found.append(href) }
        if ["script", "style", "textarea", "title"].contains(name) { skipContents(of: name) }
    }

    /// Reads up to and including `>`; returns the first `href`, which is the one that counts.
    private mutating func scanAttributes() -> Range<Int>? {
        var href: Range<Int>?
        while index < html.count {
            noteValue()
            if skipMustache() {
                isFixed = false
                continue
            }
            let byte = html[index]
            if byte == UInt8(ascii: ">") {
                index += 1
                return href
            }
            if Self.isSpace(byte) || byte == UInt8(ascii: "/") {
                index += 1
                continue
            }
            let name = attributeName()
            skipSpace()
            guard index < html.count, html[index] == UInt8(ascii: "=") else { continue }
            index += 1
            skipSpace()
            let value = attributeValue(isAddress: isTemplate && Self.addresses.contains(name))
            if href == nil, name == Array("href".utf8) { href = value }
        }
        return href
    }

    private mutating func attributeName() -> [UInt8] {
        let start = index
        // A leading = is part of the name, as in HTML; this also guarantees progress.
        index += 1
        while index < html.count, !Self.isSpace(html[index]), html[index] != UInt8(ascii: "="),
            html[index] != UInt8(ascii: ">"), html[index] != UInt8(ascii: "/"), !(isTemplate && isAt("{{"))
        {
            index += 1
        }
        return html[start..<index].map(Self.lowered)
    }

    /// Attributes whose value is one address.
    private static let addresses = Set(
        ["href", "src", "action", "formaction", "background", "cite", "poster", "longdesc"].map { Array($0.utf8) })

    private mutating func attributeValue(isAddress: Bool) -> Range<Int> {
        guard index < html.count else { return index..<index }
        let quote = html[index]
        guard quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") else {
            let start = index
            while index < html.count, !Self.isSpace(html[index]), html[index] != UInt8(ascii: ">") {
                noteValue()
                if skipMustache() { isFixed = false } else { index += 1 }
            }
            return start..<index
        }
        index += 1
        let start = index
        while index < html.count, html[index] != quote { if !skipMustache() { index += 1 } }
        let end = min(index, html.count)
        if isAddress { noteAddress(start..<end) }
        index = min(index + 1, html.count)
        return start..<end
    }

    private mutating func skipContents(of name: String) {
        let end = Array("</\(name)".utf8)
        while index < html.count {
            if html[index] == UInt8(ascii: "<"), index + end.count <= html.count,
                html[index..<(index + end.count)].lazy.map(Self.lowered).elementsEqual(end)
            {
                return
            }
            if isTemplate, isAt("{{"), holdsTag(before: index, within: end.count) { isFixed = false }
            index += 1
        }
    }

    /// Whether a tag may have begun in the last octets, which what comes next would then be part of.
    private func holdsTag(before end: Int, within count: Int) -> Bool {
        html[max(settled, end - count)..<end].contains(UInt8(ascii: "<"))
    }

    /// A value may end in the hyphens that a comment ends with.
    private mutating func checkComment(_ range: Range<Int>) {
        guard isTemplate else { return }
        for index in range.dropLast() where html[index] == 0x7D && html[index + 1] == 0x7D {
            if html[(index + 2)...].prefix(3).contains(UInt8(ascii: ">")) { isFixed = false }
        }
    }

    /// A section or a comment puts nothing in.
    private mutating func noteValue() {
        guard isTemplate, bare == nil, isAt("{{"), index + 2 < html.count,
            !"#^/!".utf8.contains(html[index + 2])
        else { return }
        bare = index
    }

    /// A value is left as it is where it is the first thing in its line: Mustache takes what is in front of a pragma there
    /// for indentation.
    private mutating func noteAddress(_ range: Range<Int>) {
        let next = index
        defer { index = next }
        var place = AddressPlace()
        var isLineStart = false
        index = range.lowerBound
        while index < range.upperBound {
            let octet = index
            guard skipMustache() else {
                isLineStart = html[octet] == 0x0A || html[octet] == 0x0D || isLineStart && html[octet] <= 0x20
                index += place.pass(html[octet..<range.upperBound])
                continue
            }
            switch html[(octet + 2)...].first {
            case UInt8(ascii: "#"), UInt8(ascii: "^"): place.enterSection()
            case UInt8(ascii: "/"): place.leaveSection()
            case UInt8(ascii: "!"): break
            case UInt8(ascii: "{"), UInt8(ascii: "&"): place.passValue()
            default:
                let isPersonal = PersonalLink.names.contains(Self.name(inTag: html[octet..<index]))
                if !isPersonal, !isLineStart { addressed[octet] = place.escape }
                place.passValue()
                isLineStart = false
            }
        }
    }

    private static func name(inTag tag: ArraySlice<UInt8>) -> String {
        let name = tag.dropFirst(2).dropLast(2).drop { isSpace($0) }.reversed().drop { isSpace($0) }.reversed()
        return String(decoding: Array(name), as: UTF8.self)
    }

    /// Outlook reads what others take for a comment.
    private mutating func noteConditional(_ comment: Range<Int>) {
        guard isTemplate, !isConditional, html[comment].starts(with: "[if".utf8) else { return }
        var scanner = AnchorScanner(html: Array(html[comment]), isTemplate: true)
        scanner.isConditional = true
        scanner.scan()
        for (octet, escape) in scanner.addressed { addressed[comment.lowerBound + octet] = escape }
    }

    private mutating func skipMustache() -> Bool {
        guard isTemplate, isAt("{{") else { return false }
        skip(past: isAt("{{{") ? "}}}" : "}}", from: index + 2)
        return true
    }

    private mutating func skip(past end: String, from start: Int) {
        index = start
        while index < html.count, !isAt(end) { index += 1 }
        index = min(index + end.utf8.count, html.count)
    }

    private mutating func skipSpace() {
        while index < html.count, Self.isSpace(html[index]) { index += 1 }
    }

    private func isAt(_ text: String) -> Bool {
        index < html.count && html[index] == text.utf8.first && html[index...].starts(with: text.utf8)
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) && byte != 0x0B }
    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        isDigit(byte) || (0x61...0x7A).contains(lowered(byte))
    }
    private static func lowered(_ byte: UInt8) -> UInt8 { (0x41...0x5A).contains(byte) ? byte + 0x20 : byte }
}
