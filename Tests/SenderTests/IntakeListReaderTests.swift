import Delivery
import Signing
import Testing

@testable import sender

@Suite struct `Recipient list reader` {
    private static func read(
        _ octets: [UInt8], _ format: ListFormat = .csv, tags: Set<String> = [], limits: ListLimits = ListLimits(),
        cut: Int? = nil
    ) throws(ListFault) -> (rows: [RecipientRow], reader: RecipientListReader) {
        var reader = RecipientListReader(
            format: format, tags: tags, hasher: AddressHasher(districtKey: [1, 2, 3]), limits: limits)
        var rows: [RecipientRow] = []
        for chunk in `CSV parser`.chunks(octets, cut: cut) { try reader.read(chunk) { rows.append($0) } }
        try reader.finish { rows.append($0) }
        return (rows, reader)
    }

    private static func fault(
        _ octets: [UInt8], _ format: ListFormat = .csv, tags: Set<String> = [], limits: ListLimits = ListLimits()
    ) throws -> ListFault {
        try #require(throws: ListFault.self) { try read(octets, format, tags: tags, limits: limits) }
    }

    private static func fault(_ text: String, _ format: ListFormat = .csv, tags: Set<String> = []) throws -> ListFault {
        try fault(Array(text.utf8), format, tags: tags)
    }

    @Test func `headings are known as people write them, and merge fields by the templates that use them`() throws {
        let list =
            "\u{FEFF}E-Mail Address,Full_Name,School,Person Ref,Categories,First Name,field.bus\r\n"
            + "Jane@x.example,Jane Doe,North,p1,general; news ;,Jané,7\r\n"
        let octets = Array(list.utf8)
        for cut in [nil, -1, 1, 2, 3, 5, 40] {
            let (rows, reader) = try Self.read(octets, tags: ["first_name", "full_name"], cut: cut)
            let row = try #require(rows.first)
            #expect(rows.count == 1)
            #expect(row.line == 2)
            #expect(row.address == "Jane@x.example")
            #expect(row.school == "North")
            #expect(row.personRef == "p1")
            #expect(row.categories == ["general", "news"])
            #expect(reader.fields == ["full_name", "first_name", "bus"])
            #expect(row.fields.map(\.value) == ["Jane Doe", "Jané", "7"])
            #expect(reader.columnNames == ["email", "person_ref", "school", "full_name", "first_name", "bus"])
        }
    }

    @Test func `a bad or an empty address makes the recipient invalid, not the list`() throws {
        let (rows, _) = try Self.read(Array("email,name\njane@@x.example,A\n,B\nok@x.example,C\n".utf8))
        #expect(rows.map(\.fault) == [.invalid, .noAddress, nil])
        #expect(rows.map { $0.addressHash != nil } == [false, false, true])
        #expect(rows.allSatisfy { ($0.fault == nil) == ($0.faultReason == nil) })
    }

    @Test func `the same mailbox has the same hash however it is written`() throws {
        let (rows, _) = try Self.read(Array("email\n Jane@X.example \njane@x.EXAMPLE\n".utf8))
        #expect(rows[0].addressHash == rows[1].addressHash)
        #expect(rows[0].addressHash?.count == 32)
    }

    @Test func `an unknown column is named, with the nearest known one`() throws {
        let fault = try Self.fault("email,nmae,grade\na@x.example,A,3\n", tags: ["grade"])
        #expect(fault.kind == .unknownColumn)
        #expect(fault.line == 1)
        #expect(fault.column == "nmae")
        #expect(fault.columnNumber == 2)
        #expect(fault.nearest == "name")
    }

    @Test(arguments: [
        ("email,address\n", ListFault.Kind.duplicateColumn), ("email,Email\n", .duplicateColumn),
        ("name\nJane\n", .missingColumn), ("email,\n", .unknownColumn), ("email;name\n", .malformed),
        ("email\tname\n", .malformed), ("email,field.a b\n", .unknownColumn), ("email,field.\n", .unknownColumn),
        ("", .empty), ("\n\r\n", .empty), ("email,name\r\n", .empty), ("email,name\na@x.example\n", .malformed),
        ("email,name\na@x.example,A,extra\n", .malformed),
    ])
    func `a list that cannot be read as a table is refused`(_ list: String, _ kind: ListFault.Kind) throws {
        #expect(try Self.fault(list).kind == kind)
    }

    @Test(arguments: ["\n", "\r", "\r\n", "\0", "\u{85}", "\u{2028}", "\t", "\u{1B}", "\u{7F}"])
    func `a line break or control character in any column is refused with its place (S01)`(_ control: String) throws {
        for column in ["email", "name", "person_ref", "school", "categories", "first_name", "field.note"] {
            let heading = column == "email" ? "school2,email" : "email,\(column)"
            let value = "\"A\(control)Bcc: x@y.example\""
            let line = column == "email" ? "s,\(value)" : "ok@x.example,\(value)"
            let fault = try Self.fault("\(heading)\n\(line)\n", tags: ["first_name", "school2"])
            #expect(fault.kind == .controlCharacter, "\(column)")
            #expect(fault.line == 2)
            #expect(fault.column == column)
            #expect(fault.columnNumber == 2)
            #expect(fault.octet == 2)
        }
    }

    @Test func `invalid UTF-8 is refused with its line, column and octet`() throws {
        let latin = Array("email,name\nok@x.example,Ren".utf8) + [0xE9, 0x0A]
        let fault = try Self.fault(latin)
        #expect(fault.kind == .encoding)
        #expect(fault.line == 2)
        #expect(fault.column == "name")
        #expect(fault.octet == 4)
    }

    @Test(
        arguments: [
            [0xFF, 0xFE, 0x65, 0x00, 0x6D, 0x00], [0xFE, 0xFF, 0x00, 0x65], [0x50, 0x4B, 0x03, 0x04, 0x14],
            [0x1F, 0x8B, 0x08, 0x00],
        ] as [[UInt8]])
    func `another kind of file is called by its name`(_ octets: [UInt8]) throws {
        #expect(try Self.fault(octets).kind == .encoding)
        #expect(try Self.fault(octets, .ndjson).kind == .encoding)
    }

    @Test func `more rows than the limit are refused`() throws {
        var limits = ListLimits()
        limits.rows = 2
        #expect(try Self.read(Array("email\na@x.example\nb@x.example\n".utf8), limits: limits).rows.count == 2)
        let fault = try Self.fault(Array("email\n1\n2\n3\n".utf8), limits: limits)
        #expect(fault.kind == .tooManyRows)
        #expect(fault.line == 4)
    }

    @Test func `NDJSON gives the same rows as CSV, wherever it is cut`() throws {
        let list = """
            {"email":"a@x.example","name":"Ann","categories":["news"],"fields":{"bus":"7"},"first_name":"A"}

            {"address":"","person":"p2","bus":null}\r
            {"email":"c@x.example","school":"é\\u00e9"}
            """
        for cut in [nil, -1, 0, 1, 2, 3, 4, 50, 98, 99, 100] {
            let (rows, reader) = try Self.read(Array(list.utf8), .ndjson, tags: ["first_name", "bus"], cut: cut)
            #expect(rows.map(\.line) == [1, 3, 4])
            #expect(rows.map(\.address) == ["a@x.example", "", "c@x.example"])
            #expect(rows[0].categories == ["news"])
            #expect(Set(reader.fields) == ["bus", "first_name"])
            #expect(rows[2].school == "éé")
            #expect(reader.columnNames.starts(with: ["email", "name", "person_ref", "school"]))
        }
    }

    @Test(arguments: [
        ("{\"email\":\"a@x.example\"}\n{\"email\":", ListFault.Kind.malformed, 2, nil as String?),
        ("[1]", .malformed, 1, nil), ("{\"email\":7}", .malformed, 1, "email"),
        ("{\"name\":\"A\"}", .missingColumn, 1, "email"),
        ("{\"email\":\"a@x.example\",\"nmae\":\"A\"}", .unknownColumn, 1, "nmae"),
        ("{\"email\":\"a@x.example\",\"email\":\"b@x.example\"}", .malformed, 1, nil),
        ("{\"email\":\"a@x.example\",\"name\":\"A\\r\\nBcc: b@x.example\"}", .controlCharacter, 1, "name"),
        ("{\"email\":\"a@x.example\",\"categories\":[\"a\\nb\"]}", .controlCharacter, 1, "categories"),
        ("{\"email\":\"a@x.example\",\"fields\":{\"x\":\"\\u0000\"}}", .malformed, 1, nil),
        ("{\"email\":\"a@x.example\",\"fields\":\"x\"}", .malformed, 1, "fields"),
        ("{\"email\":\"a@x.example\",\"person\":\"1\",\"person_ref\":\"2\"}", .duplicateColumn, 1, "person_ref"),
        ("", .empty, 1, nil),
    ])
    func `a bad NDJSON line is refused with its number and member`(
        _ list: String, _ kind: ListFault.Kind, _ line: Int, _ column: String?
    ) throws {
        let fault = try Self.fault(list, .ndjson)
        #expect(fault.kind == kind)
        #expect(fault.line == line)
        #expect(fault.column == column)
    }
}
