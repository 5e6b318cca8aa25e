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

/// Which of the merge values, and whether it stands escaped.
struct MergedValue: Sendable {
    let index: Int
    let isEscaped: Bool
}

/// A body in the order of its pieces, and in quoted-printable where it is the same for everybody.
///
/// It is cut where a line begins: behind a line end, or behind a soft line break that is put in for it beside a long
/// text. So no cut needs to know what a merge value before it did to the line.
struct MessageBody: Sendable {
    enum Segment: Sendable {
        case encoded([UInt8])
        /// - Parameter continues: the next segment goes on in the same line.
        case mixed([BodyPiece], continues: Bool)
    }

    /// From how many octets on a text is worth a soft line break.
    private static let longText = 160

    private(set) var segments: [Segment] = []
    /// Octets that are the same for everybody.
    private(set) var size = 0
    private var line: [BodyPiece] = []

    init(_ pieces: [BodyPiece]) {
        for (index, piece) in pieces.enumerated() {
            if case .text(let text) = piece {
                append(text, isLast: index == pieces.count - 1)
            } else {
                line.append(piece)
            }
        }
        endLine(continues: false)
    }

    private mutating func append(_ text: [UInt8], isLast: Bool) {
        size += text.count
        var rest = text[...]
        if !line.isEmpty {
            let head = text.firstIndex(of: 0x0A).map { $0 + 1 } ?? text.count
            if head >= Self.longText {
                endLine(continues: true)
            } else {
                line.append(.text(Array(text[..<head])))
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
            if tail < rest.endIndex { line.append(.text(Array(rest[tail...]))) }
        }
    }

    private mutating func encode(_ text: ArraySlice<UInt8>, continues: Bool) {
        guard !text.isEmpty else { return }
        var octets: [UInt8] = []
        QuotedPrintable.append(Array(text), to: &octets, continues: continues)
        segments.append(.encoded(octets))
    }

    private mutating func endLine(continues: Bool) {
        guard !line.isEmpty else { return }
        segments.append(.mixed(line, continues: continues))
        line = []
    }
}
