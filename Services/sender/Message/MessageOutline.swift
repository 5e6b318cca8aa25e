import Signing

/// What the messages of a blast have in common, prepared once: rendered but for the merge values, its links found, and
/// in quoted-printable where nothing is merged in.
///
/// There is one for templates of texts and plain tags whose links no merge value can move. A message made from it is
/// the message that `MessageComposer` makes without one: the same octets but for soft line breaks, the same content
/// hash. Whatever could differ (a value with markup that stands unescaped, a stand-in of a personal link in a value)
/// is left to that way, recipient by recipient.
struct MessageOutline: Sendable {
    /// One part as it counts for the content's identity: links are as they are written, personal ones stand-ins.
    private struct Part: Sendable {
        var octets: [UInt8] = []
        /// Each behind how many of the octets it stands.
        var values: [(end: Int, value: MergedValue)] = []

        func size(_ values: MergedValues) -> Int {
            self.values.reduce(octets.count) { $0 + values.count(of: $1.value) }
        }

        func append(_ values: MergedValues, to content: inout ContentHash) {
            var start = 0
            for (end, value) in self.values {
                content.append(octets.span.extracting(start..<end))
                values.with(value) { content.append($0) }
                start = end
            }
            content.append(octets.span.extracting(start...))
        }
    }

    /// A template that asks for more values than this is not worth it: each is searched in turn.
    private static let valuesMax = 64

    private let names: [MergeFields.Name]
    private let parts: [Part]
    /// Values that may have no markup: they stand unescaped in HTML that is searched for links.
    private let bare: Set<Int>
    /// Values that stand in addresses.
    private let addressed: Set<Int>
    /// Nil when nothing can look like one.
    private let standIns: Int?
    let text: MessageBody?
    let html: MessageBody?

    /// Nil when messages have to be made one by one.
    init?(_ document: BlastDocument) {
        guard case .success(let template) = document.template, let plain = template.plain else { return nil }
        var names: [String] = []
        for part in [plain.subject, plain.text, plain.html] {
            for tag in part?.tags ?? [] where PersonalLink(rawValue: tag.name) == nil && !names.contains(tag.name) {
                guard names.count < Self.valuesMax else { return nil }
                names.append(tag.name)
            }
        }
        var pieces: [BodyPiece]?
        var bare: Set<Int> = []
        if let html = plain.html {
            guard let cut = Self.cut(html, names, document) else { return nil }
            pieces = cut
            if document.isTracked {
                bare = Set(html.tags.filter { $0.escape == .none }.compactMap { names.firstIndex(of: $0.name) })
            }
        }
        self.names = names.map { MergeFields.Name($0) }
        self.bare = bare
        addressed = Set(
            (plain.html?.tags ?? []).filter { $0.escape == .path || $0.escape == .query }
                .compactMap { names.firstIndex(of: $0.name) })
        parts = [plain.subject, plain.text, plain.html].map { Self.part($0, names) }
        standIns =
            template.hasPersonalLinks
            ? [plain.subject, plain.text, plain.html].reduce(0) { count, part in
                count + (part?.tags ?? []).count { PersonalLink(rawValue: $0.name) != nil }
            } : nil
        text = plain.text.map { MessageBody(Self.pieces(of: $0, 0..<$0.octets.count, names)) }
        html = pieces.map { MessageBody($0) }
    }

    /// The merge values of one recipient of mail, and what they make of subject and content; nil when the message has
    /// to be made the other way.
    func merge(_ recipient: Recipient) -> (values: MergedValues, subject: String, content: ContentHash)? {
        guard let texts = MergeFields.texts(of: recipient, for: names),
            !bare.contains(where: { texts[$0].contains(where: Self.isMarkup) })
        else { return nil }
        let values = MergedValues(texts, addressed: addressed)
        let sizes = parts.map { $0.size(values) }
        var content = ContentHash(capacity: sizes.reduce(64, +))
        var subject: Range<Int>?
        for (part, size) in zip(parts, sizes) {
            content.begin(octets: size)
            subject = subject ?? content.octets.count..<(content.octets.count + size)
            part.append(values, to: &content)
        }
        if let standIns, PersonalLink.count(in: content.octets) != standIns { return nil }
        return (values, String(decoding: content.octets[subject ?? 0..<0], as: UTF8.self), content)
    }

    private static func part(_ template: PlainTemplate?, _ names: [String]) -> Part {
        guard let template else { return Part() }
        var part = Part()
        for piece in pieces(of: template, 0..<template.octets.count, names) {
            switch piece {
            case .text(let text): part.octets += text
            case .personal(let link): part.octets += link.standIn.utf8
            case .value(let value): part.values.append((part.octets.count, value))
            default: break
            }
        }
        return part
    }

    /// Texts and tags of a range that cuts no tag.
    private static func pieces(of template: PlainTemplate, _ range: Range<Int>, _ names: [String]) -> [BodyPiece] {
        var pieces: [BodyPiece] = []
        var copied = range.lowerBound
        for tag in template.tags[template.tagIndex(at: range.lowerBound)...] {
            guard tag.range.lowerBound < range.upperBound else { break }
            let text = template.octets[copied..<tag.range.lowerBound]
            if !text.isEmpty { pieces.append(.text(Array(text))) }
            copied = tag.range.upperBound
            if let link = PersonalLink(rawValue: tag.name) {
                pieces.append(.personal(link))
            } else if let index = names.firstIndex(of: tag.name) {
                pieces.append(.value(MergedValue(index: index, escape: tag.escape)))
            }
        }
        if copied < range.upperBound { pieces.append(.text(Array(template.octets[copied..<range.upperBound]))) }
        return pieces
    }

    /// HTML with its links and the pixel; nil when merge values can move them.
    private static func cut(_ html: PlainTemplate, _ names: [String], _ document: BlastDocument) -> [BodyPiece]? {
        guard document.isTracked else { return pieces(of: html, 0..<html.octets.count, names) }
        guard !html.tags.contains(where: { TrackedLinks.breaksBodyEnd(html.octets[..<$0.range.lowerBound]) }),
            let addresses = document.links.isEmpty ? [] : AnchorScanner.fixedHrefs(inTemplate: html.octets)
        else { return nil }
        var result: [BodyPiece] = []
        var copied = 0
        for address in addresses {
            let inner = pieces(of: html, address, names)
            let isWritten = inner.allSatisfy { if case .text = $0 { true } else { false } }
            let piece: BodyPiece
            if !isWritten {
                guard !html.octets[address].contains(UInt8(ascii: "<")) else { return nil }
                piece = .address(inner)
            } else if let destination = TrackedLinks.destination(html.octets[address], isTemplate: false),
                let number = document.links[destination]
            {
                piece = .click(number)
            } else {
                continue
            }
            result += pieces(of: html, copied..<address.lowerBound, names)
            result.append(piece)
            copied = address.upperBound
        }
        result += pieces(of: html, copied..<html.octets.count, names)
        return withPixel(result)
    }

    private static func withPixel(_ pieces: [BodyPiece]) -> [BodyPiece] {
        for (index, piece) in pieces.enumerated().reversed() {
            guard case .text(let text) = piece, let end = TrackedLinks.bodyEnd(in: text) else { continue }
            var result = Array(pieces[..<index])
            if end > 0 { result.append(.text(Array(text[..<end]))) }
            result += [.openPixel, .text(Array(text[end...]))]
            return result + pieces[(index + 1)...]
        }
        return pieces + [.openPixel]
    }

    static func isMarkup(_ octet: UInt8) -> Bool {
        octet == UInt8(ascii: "<") || octet == UInt8(ascii: ">") || octet == UInt8(ascii: "\"")
            || octet == UInt8(ascii: "'")
    }
}

/// The merge values of one message, in the forms in which they stand in it.
struct MergedValues {
    private var octets: [UInt8] = []
    /// By value and then by form.
    private var ranges: [Range<Int>] = []
    private static let forms = ValueEscape.allCases.count

    /// - Parameter addressed: which of them stand in addresses.
    init(_ texts: [[UInt8]], addressed: Set<Int>) {
        ranges.reserveCapacity(texts.count * Self.forms)
        for (index, text) in texts.enumerated() {
            let plain = append(text)
            for escape in ValueEscape.allCases {
                let isNeeded = escape == .markup || addressed.contains(index)
                ranges.append(isNeeded && escape.mayChange(text) ? append(escape(text)) : plain)
            }
        }
    }

    private mutating func append(_ text: [UInt8]) -> Range<Int> {
        octets += text
        return (octets.count - text.count)..<octets.count
    }

    private func range(of value: MergedValue) -> Range<Int> { ranges[value.index * Self.forms + value.escape.rawValue] }

    func count(of value: MergedValue) -> Int { range(of: value).count }

    func with(_ value: MergedValue, _ body: (Span<UInt8>) -> Void) {
        body(octets.span.extracting(range(of: value)))
    }
}
