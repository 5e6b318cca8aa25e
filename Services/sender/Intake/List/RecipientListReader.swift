import Signing

/// How a list is written.
enum ListFormat: Equatable {
    case csv, ndjson
}

/// Turns the octets of an uploaded list into rows, from chunks cut anywhere, with flat memory.
struct RecipientListReader {
    private enum Parser {
        case csv(CSVParser)
        case ndjson(LineParser)
    }

    private let limits: ListLimits
    private let hasher: AddressHasher
    private var preface = ListPreface()
    private var parser: Parser
    private var columns: RecipientColumns
    /// The heading of a CSV list; nil until it has been read.
    private var heading: Heading?
    /// NDJSON: what each member name was resolved to.
    private var members: [String: RecipientColumn] = [:]
    private var used: Set<RecipientColumn> = []
    private let channels: Set<RecipientChannel>
    private(set) var rows = 0
    /// Telephone numbers of a list whose blast goes by e-mail only.
    private(set) var phonesIgnored = 0

    private struct Heading {
        var columns: [RecipientColumn] = []
        var names: [String] = []
    }

    /// - Parameters:
    ///   - tags: the names that the blast's templates use.
    ///   - channels: how the blast goes out; a line gives a recipient for each of them that it has an address for.
    init(
        format: ListFormat, tags: Set<String>, hasher: AddressHasher, limits: ListLimits,
        channels: Set<RecipientChannel> = [.email]
    ) {
        self.channels = channels
        self.limits = limits
        self.hasher = hasher
        parser = format == .csv ? .csv(CSVParser(limits: limits)) : .ndjson(LineParser(limits: limits))
        columns = RecipientColumns(tags: tags)
    }

    /// The merge fields met so far, by number.
    var fields: [String] { columns.fields }

    /// Every name a template can count on after this list: its merge fields and the known columns it has.
    var columnNames: [String] {
        RecipientColumns.known.filter { used.contains($0.column) }.map(\.name).filter(TemplateTags.builtIn.contains)
            + columns.fields
    }

    mutating func read(_ chunk: [UInt8], row emit: (RecipientRow) -> Void) throws(ListFault) {
        let octets = try preface.pass(chunk)
        switch parser {
        case .csv(var csv):
            try csv.parse(octets) { record throws(ListFault) in try self.take(record, emit) }
            parser = .csv(csv)
        case .ndjson(var lines):
            try lines.parse(octets) { line, octets throws(ListFault) in try self.take(line, octets, emit) }
            parser = .ndjson(lines)
        }
    }

    /// The upload has ended.
    mutating func finish(row emit: (RecipientRow) -> Void) throws(ListFault) {
        let rest = try preface.finish()
        switch parser {
        case .csv(var csv):
            try csv.parse(rest) { record throws(ListFault) in try self.take(record, emit) }
            try csv.finish { record throws(ListFault) in try self.take(record, emit) }
        case .ndjson(var lines):
            try lines.parse(rest) { line, octets throws(ListFault) in try self.take(line, octets, emit) }
            try lines.finish { line, octets throws(ListFault) in try self.take(line, octets, emit) }
        }
        guard rows > 0 else {
            let hint = heading == nil ? "" : " below its heading"
            throw ListFault(.empty, line: 1, reason: "the list has no recipients\(hint)")
        }
    }

    // MARK: CSV

    private mutating func take(_ record: CSVRecord, _ emit: (RecipientRow) -> Void) throws(ListFault) {
        guard let heading else { return try readHeading(record) }
        guard record.count == heading.columns.count else {
            throw ListFault(
                .malformed, line: record.line,
                reason: "the line has \(record.count) fields, the heading has \(heading.columns.count)")
        }
        var row = RecipientRow(line: record.line)
        for index in 0..<record.count {
            do throws(ListFault) {
                try row.set(heading.columns[index], try CellText.read(record[index], line: record.line))
            } catch {
                throw Self.placed(error, heading.names[index], index)
            }
        }
        try finishRow(&row, emit)
    }

    private mutating func readHeading(_ record: CSVRecord) throws(ListFault) {
        var heading = Heading()
        for index in 0..<record.count {
            var name = ""
            do throws(ListFault) {
                if record.count == 1, record[index].contains(where: { $0 == 0x3B || $0 == 0x09 }) {
                    throw ListFault(
                        .malformed, line: record.line,
                        reason: "the heading has no comma; separate columns by commas, not by semicolons or tabs")
                }
                name = try CellText.read(record[index], line: record.line)
                if name.isEmpty {
                    throw ListFault(.unknownColumn, line: record.line, reason: "the column has no heading")
                }
                let column = try columns.column(named: name, line: record.line)
                guard used.insert(column).inserted else {
                    throw ListFault(
                        .duplicateColumn, line: record.line, reason: "an earlier column means the same; remove one")
                }
                heading.columns.append(column)
                heading.names.append(name)
            } catch {
                throw Self.placed(error, name, index)
            }
        }
        if let missing = missingColumn(among: used) {
            throw ListFault(
                .missingColumn, line: record.line,
                reason: "the heading has no column \(missing); the first line names the columns")
        }
        self.heading = heading
    }

    private static func placed(_ fault: ListFault, _ name: String, _ index: Int) -> ListFault {
        var placed = fault
        placed.columnNumber = index + 1
        placed.column = String(name.prefix(100))
        return placed
    }

    // MARK: NDJSON

    private mutating func take(
        _ line: Int, _ octets: [UInt8], _ emit: (RecipientRow) -> Void
    ) throws(ListFault) {
        var row = RecipientRow(line: line)
        var filled: Set<RecipientColumn> = []
        for member in try RecipientObject.members(of: octets, line: line) {
            do throws(ListFault) {
                let column = try column(of: member.name, line: line)
                guard filled.insert(column).inserted else {
                    throw ListFault(.duplicateColumn, line: line, reason: "another member of the object means the same")
                }
                switch member.value {
                case .text(let text):
                    guard text.utf8.count <= limits.fieldOctets else {
                        throw ListFault(
                            .tooLong, line: line, reason: "the value has more than \(limits.fieldOctets) octets")
                    }
                    try row.set(column, try CellText.read(Array(text.utf8)[...], line: line))
                case .texts(let texts):
                    guard column == .categories else { throw RecipientObject.wrongType(line) }
                    for text in texts { try CellText.check(text, line: line) }
                    row.set(categories: texts)
                }
            } catch {
                var placed = error
                placed.column = String(member.name.prefix(100))
                throw placed
            }
        }
        if let missing = missingColumn(among: filled) {
            throw ListFault(
                .missingColumn, line: line, column: missing,
                reason: "the object has no member \(missing); write \"\(missing)\": \"\" for a person without one")
        }
        used.formUnion(filled)
        try finishRow(&row, emit)
    }

    private mutating func column(of member: String, line: Int) throws(ListFault) -> RecipientColumn {
        if let known = members[member] { return known }
        let column = try columns.column(named: member, line: line)
        guard columns.fields.count <= limits.columns else {
            throw ListFault(.tooLong, line: line, reason: "the list has more than \(limits.columns) merge fields")
        }
        members[member] = column
        return column
    }

    /// The column that the blast's channels cannot do without.
    private func missingColumn(among columns: Set<RecipientColumn>) -> String? {
        if channels.contains(.email), columns.contains(.email) { return nil }
        if channels.contains(.sms), columns.contains(.phone) { return nil }
        return channels.contains(.email) ? "email" : "phone"
    }

    /// One line is one recipient for each channel that it has an address for, and one without an address when it has none.
    private mutating func finishRow(
        _ row: inout RecipientRow, _ emit: (RecipientRow) -> Void
    ) throws(ListFault) {
        let byPhone = channels.contains(.sms) && (!row.phone.isEmpty || !channels.contains(.email))
        let byEmail = channels.contains(.email) && (!row.address.isEmpty || !byPhone)
        if !channels.contains(.sms), !row.phone.isEmpty { phonesIgnored += 1 }
        rows += (byEmail ? 1 : 0) + (byPhone ? 1 : 0)
        guard rows <= limits.rows else {
            throw ListFault(.tooManyRows, line: row.line, reason: "the list has more than \(limits.rows) recipients")
        }
        if byEmail {
            row.judgeAddress(hasher)
            emit(row)
        }
        if byPhone { emit(row.byPhone(hasher)) }
    }
}
