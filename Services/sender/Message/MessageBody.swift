import Delivery
import Mail

/// What an HTML or a text body is made of once its template is cut up and its links are found.
enum BodyPiece: Sendable {
    case text([UInt8])
    case value(MergedValue)
    case personal(PersonalLink)
    /// The address of a tracked link, by its number.
    case click(Int16)
    /// An address that merge values complete: tracked when the blast has it as a link.
    case address([BodyPiece])
    case openPixel
}

/// Which of the merge values, and how it is escaped where it stands.
struct MergedValue: Sendable {
    let index: Int
    let escape: ValueEscape
}

/// A body in the order in which it is written, in quoted-printable where it is the same for everybody.
///
/// It is cut where a line begins: behind a line end, or behind a soft line break that is put in for it beside a long
/// text. So no cut needs to know what a merge value before it did to the line.
struct MessageBody: Sendable {
    /// Ranges are of `octets`: a step refers to nothing that would have to be counted for every message.
    enum Step: Sendable {
        /// Lines that are encoded already.
        case lines(Range<Int>)
        case text(Range<Int>)
        case value(MergedValue)
        case personal(PersonalLink)
        case click(Int16)
        case openPixel
        case addressBegins
        case addressEnds
        /// What came since the last lines is to be encoded.
        /// - Parameter continues: what follows goes on in the same line.
        case lineEnds(continues: Bool)
    }

    /// From how many octets on a text is worth a soft line break.
    private static let longText = 160

    private(set) var steps: [Step] = []
    private(set) var octets: [UInt8] = []
    private var isInLine = false

    init(_ pieces: [BodyPiece]) {
        for (index, piece) in pieces.enumerated() {
            if case .text(let text) = piece {
                append(text, isLast: index == pieces.count - 1)
            } else {
                append(piece)
            }
        }
        endLine(continues: false)
    }

    private mutating func append(_ text: [UInt8], isLast: Bool) {
        var rest = text[...]
        if isInLine {
            let head = text.firstIndex(of: 0x0A).map { $0 + 1 } ?? text.count
            if head >= Self.longText {
                endLine(continues: true)
            } else {
                append(.text(Array(text[..<head])))
                rest = text[head...]
                guard text[head - 1] == 0x0A else { return }
                endLine(continues: false)
            }
        }
        let tail = rest.lastIndex(of: 0x0A).map { $0 + 1 } ?? rest.startIndex
        if isLast {
            encode(rest, continues: false)
        } else if rest.endIndex - tail >= Self.longText, rest.last != 0x0D {
            encode(rest, continues: true)
        } else {
            encode(rest[..<tail], continues: false)
            if tail < rest.endIndex { append(.text(Array(rest[tail...]))) }
        }
    }

    private mutating func append(_ piece: BodyPiece) {
        isInLine = true
        switch piece {
        case .text(let text):
            steps.append(.text(octets.count..<(octets.count + text.count)))
            octets += text
        case .value(let value): steps.append(.value(value))
        case .personal(let link): steps.append(.personal(link))
        case .click(let number): steps.append(.click(number))
        case .openPixel: steps.append(.openPixel)
        case .address(let pieces):
            steps.append(.addressBegins)
            for piece in pieces { append(piece) }
            steps.append(.addressEnds)
        }
    }

    private mutating func encode(_ text: ArraySlice<UInt8>, continues: Bool) {
        guard !text.isEmpty else { return }
        let start = octets.count
        QuotedPrintable.append(Array(text), to: &octets, continues: continues)
        steps.append(.lines(start..<octets.count))
    }

    private mutating func endLine(continues: Bool) {
        guard isInLine else { return }
        steps.append(.lineEnds(continues: continues))
        isInLine = false
    }

    /// The body of one delivery.
    func filled(_ values: MergedValues, _ links: DeliveryLinks, _ document: BlastDocument) -> MIMEBody {
        let numbers = document.links
        return .encoded(about: octets.count + octets.count / 4 + 2048) { append(values, links, numbers, to: &$0) }
    }

    private func append(
        _ values: MergedValues, _ links: DeliveryLinks, _ numbers: [[UInt8]: Int16], to result: inout [UInt8]
    ) {
        var line: [UInt8] = []
        line.reserveCapacity(1024)
        var address = 0
        for step in steps {
            switch step {
            case .lines(let range): result.append(octets.span.extracting(range))
            case .text(let range): line.append(octets.span.extracting(range))
            case .value(let value): values.with(value) { line.append($0) }
            case .personal(let link): links.append(link, to: &line)
            case .click(let number): links.appendClick(number, to: &line)
            case .openPixel: links.appendOpenPixel(to: &line)
            case .addressBegins: address = line.count
            case .addressEnds:
                guard let destination = TrackedLinks.destination(line[address...], isTemplate: false),
                    let number = numbers[destination]
                else { continue }
                line.removeSubrange(address...)
                links.appendClick(number, to: &line)
            case .lineEnds(let continues):
                QuotedPrintable.append(line, to: &result, continues: continues)
                line.removeAll(keepingCapacity: true)
            }
        }
        QuotedPrintable.endText(&result)
    }
}
