/// Why an uploaded list is refused as a whole, and where.
struct ListFault: Error, Equatable {
    enum Kind {
        case malformed, encoding, unknownColumn, duplicateColumn, missingColumn, controlCharacter, tooLong, tooManyRows
        case empty
    }

    let kind: Kind
    /// The physical line, from 1.
    let line: Int
    /// The column's name as the list spells it, where it is known.
    var column: String?
    /// The field's place in the line, from 1.
    var columnNumber: Int?
    /// The octet inside the field (or line, when no column is named), from 1.
    var octet: Int?
    /// The known name that is closest to an unknown one.
    var nearest: String?
    let reason: String

    init(
        _ kind: Kind, line: Int, column: String? = nil, columnNumber: Int? = nil, octet: Int? = nil,
        nearest: String? = nil, reason: String
    ) {
        self.kind = kind
        self.line = line
        self.column = column
        self.columnNumber = columnNumber
        self.octet = octet
        self.nearest = nearest
        self.reason = reason
    }
}

/// The bounds of one list. They hold the memory of an upload flat and end hostile input early.
struct ListLimits: Sendable {
    var octets = 512 * 1024 * 1024
    var lineOctets = 64 * 1024
    var fieldOctets = 16 * 1024
    var columns = 100
    var rows = 2_000_000
}
