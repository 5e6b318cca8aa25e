/// One record of a CSV text: its fields unquoted, one after the other in one buffer.
struct CSVRecord: Equatable {
    /// The physical line on which it begins.
    let line: Int
    let octets: [UInt8]
    /// Where each field ends in `octets`.
    let ends: [Int]

    var count: Int { ends.count }

    subscript(field: Int) -> ArraySlice<UInt8> {
        octets[(field == 0 ? 0 : ends[field - 1])..<ends[field]]
    }
}

/// Reads CSV as RFC 4180 writes it, from chunks cut anywhere.
///
/// Fields are separated by commas and may be quoted; lines end in CR LF or LF; lines without any octet are skipped. What
/// the grammar does not allow is refused with its place, because guessing shifts a family's data into another column.
/// Memory is bounded by the limits of one record.
struct CSVParser {
    private enum State {
        case fieldStart, unquoted, quoted, quoteInQuoted, carriageReturn
    }

    private let limits: ListLimits
    private var state = State.fieldStart
    private var octets: [UInt8] = []
    private var ends: [Int] = []
    private var line = 1
    private var recordLine = 1
    /// Octets of the record as written, quotes included.
    private var written = 0
    private var quoteLine = 1

    init(limits: ListLimits) { self.limits = limits }

    mutating func parse(
        _ chunk: [UInt8], record emit: (CSVRecord) throws(ListFault) -> Void
    ) throws(ListFault) {
        for octet in chunk {
            written += 1
            if written > limits.lineOctets { throw tooLongLine() }
            switch state {
            case .fieldStart: try begin(octet, emit)
            case .unquoted: try continueUnquoted(octet, emit)
            case .quoted:
                if octet == Self.quote { state = .quoteInQuoted } else { try append(octet) }
                if octet == Self.lineFeed { line += 1 }
            case .quoteInQuoted: try afterQuote(octet, emit)
            case .carriageReturn:
                guard octet == Self.lineFeed else {
                    throw fault("a carriage return stands without a line feed; end lines in CR LF or LF")
                }
                try endRecord(emit)
            }
        }
    }

    /// The text has ended; a last line without a line end counts.
    mutating func finish(record emit: (CSVRecord) throws(ListFault) -> Void) throws(ListFault) {
        switch state {
        case .quoted:
            throw ListFault(
                .malformed, line: quoteLine, columnNumber: ends.count + 1,
                reason: "a quoted field begins here and is never closed by a second quote")
        case .carriageReturn:
            throw fault("a carriage return stands without a line feed; end lines in CR LF or LF")
        case .fieldStart where written == 0: return
        case .fieldStart, .unquoted, .quoteInQuoted: try endRecord(emit)
        }
    }

    private mutating func begin(
        _ octet: UInt8, _ emit: (CSVRecord) throws(ListFault) -> Void
    ) throws(ListFault) {
        if octet == Self.quote {
            state = .quoted
            quoteLine = line
        } else {
            state = .unquoted
            try continueUnquoted(octet, emit)
        }
    }

    private mutating func continueUnquoted(
        _ octet: UInt8, _ emit: (CSVRecord) throws(ListFault) -> Void
    ) throws(ListFault) {
        switch octet {
        case Self.comma: try endField()
        case Self.lineFeed: try endRecord(emit)
        case Self.carriageReturn: state = .carriageReturn
        case Self.quote:
            throw fault(
                "a quote stands inside an unquoted field; put the whole field in quotes and double those inside")
        default: try append(octet)
        }
    }

    private mutating func afterQuote(
        _ octet: UInt8, _ emit: (CSVRecord) throws(ListFault) -> Void
    ) throws(ListFault) {
        switch octet {
        case Self.quote:
            state = .quoted
            try append(octet)
        case Self.comma: try endField()
        case Self.lineFeed: try endRecord(emit)
        case Self.carriageReturn: state = .carriageReturn
        default:
            throw fault("text follows the closing quote of a field; only a comma or the end of the line may")
        }
    }

    private mutating func append(_ octet: UInt8) throws(ListFault) {
        octets.append(octet)
        guard octets.count - (ends.last ?? 0) <= limits.fieldOctets else {
            let place = state == .quoted ? quoteLine : line
            let hint = state == .quoted ? "; is its closing quote missing?" : ""
            throw ListFault(
                .tooLong, line: place, columnNumber: ends.count + 1,
                reason: "the field has more than \(limits.fieldOctets) octets\(hint)")
        }
    }

    private mutating func endField() throws(ListFault) {
        ends.append(octets.count)
        state = .fieldStart
        guard ends.count < limits.columns else {
            throw ListFault(
                .tooLong, line: line, columnNumber: ends.count + 1,
                reason: "the line has more than \(limits.columns) columns")
        }
    }

    private mutating func endRecord(_ emit: (CSVRecord) throws(ListFault) -> Void) throws(ListFault) {
        // Nothing was written but CR and LF; a pair of quotes is an empty field, not an empty line.
        let isBlank = ends.isEmpty && octets.isEmpty && written <= 2 && state != .quoteInQuoted
        if !isBlank {
            ends.append(octets.count)
            try emit(CSVRecord(line: recordLine, octets: octets, ends: ends))
        }
        octets.removeAll(keepingCapacity: true)
        ends.removeAll(keepingCapacity: true)
        line += 1
        recordLine = line
        written = 0
        state = .fieldStart
    }

    private func fault(_ reason: String) -> ListFault {
        ListFault(.malformed, line: line, columnNumber: ends.count + 1, reason: reason)
    }

    private func tooLongLine() -> ListFault {
        let hint = state == .quoted ? "; is the closing quote of the field begun on line \(quoteLine) missing?" : ""
        return ListFault(
            .tooLong, line: recordLine, reason: "the line has more than \(limits.lineOctets) octets\(hint)")
    }

    private static let comma = UInt8(ascii: ",")
    private static let quote = UInt8(ascii: "\"")
    private static let lineFeed: UInt8 = 0x0A
    private static let carriageReturn: UInt8 = 0x0D
}
