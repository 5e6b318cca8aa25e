import Delivery
import Postgres
import Signing
import TestKit
import Testing

@testable import sender

@Suite struct `A list's columns` {
    private static func rows(
        _ list: String, channels: Set<RecipientChannel> = [.email], format: ListFormat = .csv
    ) throws -> (rows: [RecipientRow], reader: RecipientListReader) {
        var reader = RecipientListReader(
            format: format, tags: [], hasher: AddressHasher(districtKey: [UInt8](repeating: 1, count: 32)),
            limits: ListLimits(), channels: channels)
        var rows: [RecipientRow] = []
        try reader.read(Array(list.utf8)) { rows.append($0) }
        try reader.finish { rows.append($0) }
        return (rows, reader)
    }

    @Test func `one person with an address and a number has a delivery for each (C-08)`() throws {
        let list =
            "email,phone,student_ref\na@x.example,+1 (555) 010-0123,s1\n,+15550100124,s2\nb@x.example,,s3\n,,s4\n"
        let both = try Self.rows(list, channels: [.email, .sms]).rows
        #expect(
            both.map { "\($0.channel) \($0.address) \($0.personRef ?? "") \($0.fault?.name ?? "ok")" } == [
                "email a@x.example s1 ok", "sms +15550100123 s1 ok", "sms +15550100124 s2 ok",
                "email b@x.example s3 ok",
                "email  s4 no_address",
            ])
        let hashes = Set(both.compactMap(\.addressHash))
        #expect(hashes.count == 4)
        let email = try Self.rows(list)
        #expect(email.rows.map(\.channel) == [.email, .email, .email, .email])
        #expect(email.reader.phonesIgnored == 2)
        let sms = try Self.rows("phone\n+15550100123\n5550100123\n\"\"\n", channels: [.sms]).rows
        #expect(sms.map { $0.fault?.name ?? "ok" } == ["ok", "invalid", "no_address"])
    }

    @Test func `a list without any address of the blast's channels is refused`() throws {
        let fault = #expect(throws: ListFault.self) { try Self.rows("phone\n+15550100123\n") }
        #expect(fault?.kind == .missingColumn)
        #expect(fault?.reason.contains("email") == true)
        let sms = #expect(throws: ListFault.self) { try Self.rows("email\na@x.example\n", channels: [.sms]) }
        #expect(sms?.reason.contains("phone") == true)
    }

    @Test(arguments: [
        ("+1 (555) 010-0123", "+15550100123"), ("+44 20 7946 0958", "+442079460958"), ("+12345678", "+12345678"),
        ("+123456789012345", "+123456789012345"),
    ]) func `a number is kept in E.164`(text: String, number: String) throws {
        #expect(try PhoneNumber(parsing: text).e164 == number)
    }

    @Test(arguments: [
        ("", PhoneNumber.Fault.empty), ("555 010 0123", .noCountryCode), ("0015550100123", .noCountryCode),
        ("+1555O100123", .notANumber), ("+1555010012x", .notANumber), ("+1234567", .length),
        ("+1234567890123456", .length), ("+0155501001", .length), ("+", .length),
        ("+1 555 010 0123\u{301}", .notANumber),
    ]) func `a number that is none is refused, and its country never guessed`(text: String, fault: PhoneNumber.Fault) {
        #expect(throws: fault) { try PhoneNumber(parsing: text) }
    }

    @Test func `a person is a family, a student or staff`() throws {
        let list =
            "email,family_ref,student_ref,staff_ref,locale\na@x.example,f1,,,es\nb@x.example,,s1,,pt-BR\nc@x.example,,,t1,\n"
        let rows = try Self.rows(list).rows
        #expect(
            rows.map { "\($0.personKind ?? "-") \($0.personRef ?? "-") \($0.locale ?? "-")" } == [
                "family f1 es", "student s1 pt-BR", "staff t1 -",
            ])
        #expect(try Self.rows("email,person_ref,person_kind\na@x.example,7,Student\n").rows[0].personKind == "student")
    }

    @Test(arguments: [
        ("email,family_ref,student_ref\na@x.example,f,s\n", "names a person already"),
        ("email,person_kind\na@x.example,teacher\n", "family, student or staff"),
        ("email,consent\na@x.example,maybe\n", "yes or no"), ("email,consent.news\na@x.example,ok\n", "yes or no"),
        ("email,locale\na@x.example,english please\n", "es or pt-BR"), ("email,consent.\na@x.example,no\n", "category"),
    ]) func `what may not be guessed at is refused with its line`(list: String, reason: String) {
        let fault = #expect(throws: ListFault.self) { try Self.rows(list) }
        #expect(fault?.reason.contains(reason) == true, "\(fault?.reason ?? "")")
        #expect(fault?.columnNumber != nil)
    }

    @Test func `a refused consent is kept for its category, or for all`() throws {
        let list =
            "email,consent,consent.attendance,consent.news\na@x.example,no,,yes\nb@x.example,yes,No,\nc@x.example,,,\n"
        #expect(try Self.rows(list).rows.map(\.consentRefused) == [["*"], ["attendance"], []])
    }
}
