import Contracts
import Delivery
import Foundation
import Kafka
import Postgres
import TestKit
import Testing

/// Anything can stand on a topic. Each record here has one fate, and the one behind it is folded.
@Suite(.serialized) struct `Hostile records` {
    private enum Fate {
        case parked(String)
        case late
        case applied
    }

    /// Where a record stands.
    private struct Place: Hashable {
        let part: Int32
        let offset: Int64
    }

    /// One record in octets, as any client can write it.
    private struct Raw {
        var key: [UInt8]?
        /// Nil: where the key belongs, as producers do it.
        var partition: Int32?
        var value: [UInt8]? = Array(#"{"district":1,"fact":"opened"}"#.utf8)
        var headers: [(String, [UInt8])]
        var timestampMs: Int64?

        init(_ event: DeliveryEvent) {
            key = event.key
            headers = event.attributes.headers.map { ($0.name, Array($0.value.utf8)) }
        }

        var home: Int32 { Int32(Murmur2.partition(of: key ?? [], count: Topic.deliveryEvents.partitions)) }

        /// The same about another delivery, with its key.
        func about(_ delivery: String) -> Raw {
            var raw = with(header: "ce_subject", text: delivery)
            raw.key = Array(delivery.utf8)
            return raw
        }

        func keyed(_ key: String?) -> Raw {
            var raw = self
            raw.key = key.map { Array($0.utf8) }
            return raw
        }

        func on(_ partition: Int32) -> Raw {
            var raw = self
            raw.partition = partition
            return raw
        }

        func with(_ value: String) -> Raw { with(octets: Array(value.utf8)) }
        func with(octets: [UInt8]?) -> Raw {
            var raw = self
            raw.value = octets
            return raw
        }
        func with(header name: String, _ octets: [UInt8]?) -> Raw {
            var raw = self
            raw.headers.removeAll { $0.0 == name }
            if let octets { raw.headers.append((name, octets)) }
            return raw
        }
        func with(header name: String, text: String) -> Raw { with(header: name, Array(text.utf8)) }

        var line: [Any] {
            func base64(_ octets: [UInt8]?) -> Any { octets.map { Data($0).base64EncodedString() } ?? NSNull() }
            return [
                Int(partition ?? home), base64(key), base64(value), headers.map { [$0.0, base64($0.1)] },
                timestampMs.map { $0 as Any } ?? NSNull(),
            ]
        }
    }

    @Test func `have each one documented fate and never stop their partition`() async throws {
        try await ProjectorRig.with("projector-hostile") { rig in
            try await rig.insertBlast(recipients: 20)
            let good = Raw(rig.event(1, .sent, "good")).with(#"{"district":1,"fact":"sent"}"#)
            let timeless = Raw(rig.event(2, .opened, "timeless"))
            let cases =
                Self.values(good) + Self.headers(good, timeless) + Self.places(rig)
                + (try await Self.deliveries(rig, good))
            try await rig.put(cases.map(\.record.line))
            let projector = try rig.startProjector("only")
            try await rig.waitUntilProjected(cases.count)
            try await Self.expect(cases, in: rig)
            try await Self.expectCounters(of: cases, projector, in: rig)

            // What arrived before its row is applied when it is said again.
            let early = DeliveryID(blast: rig.blast, recipientNumber: 21)
            try await rig.insertRow(early)
            try await rig.put([Raw(rig.event(21, .opened, "early")).line, good.line])
            try await rig.waitUntilProjected(cases.count + 2)
            #expect(try await rig.number("SELECT facts FROM delivery_status WHERE recipient_no = 21") == 1 | 1 << 34)

            // A record without a usable id still marks the end of what was projected.
            let last = good.with(header: "ce_id", [0x61, 0x00]).with("last")
            try await rig.put([last.line])
            try await rig.waitUntilProjected(cases.count + 3)
            #expect(
                try await rig.number("SELECT count(*) FROM projector_partition WHERE tail_event_id LIKE 'unident%'") > 0
            )
            #expect(try await projector.terminate() == 0)
            let heir = try rig.startProjector("heir")
            try await rig.put([good.line])
            try await rig.waitUntilProjected(cases.count + 4)
            #expect(try await rig.number("SELECT count(*) FROM projector_incident") == 0)
            #expect(try await heir.terminate() == 0)
        }
    }

    private typealias Case = (name: String, record: Raw, fate: Fate)

    private static func values(_ good: Raw) -> [Case] {
        let deep = String(repeating: "[", count: 5000) + String(repeating: "]", count: 5000)
        let shallow = String(repeating: "[", count: 40) + String(repeating: "]", count: 40)
        let answer = #"{"district":1,"fact":"responded","response":"\#(String(repeating: "a", count: 513))"}"#
        let attempt = #"{"district":1,"fact":"sent","attempt":{"number":0,"at":"x"}}"#
        return [
            ("duplicate key", good.with(#"{"district":1,"district":2,"fact":"sent"}"#), .parked("duplicate member")),
            ("escaped twin", good.with(#"{"fact":"sent","f\u0061ct":"opened","district":1}"#), .parked("duplicate")),
            ("NUL", good.with("{\"district\":1,\"fact\":\"sent\",\"evidence\":\"\0\"}"), .parked("contains a NUL")),
            ("\\u0000", good.with(#"{"district":1,"fact":"sent","response":"\u0000"}"#), .parked("contains a NUL")),
            ("high half", good.with(#"{"district":1,"fact":"sent","evidence":"\ud800"}"#), .parked("lone surrogate")),
            ("low half", good.with(#"{"district":1,"fact":"sent","evidence":"\udc00x"}"#), .parked("lone surrogate")),
            ("depth", good.with(#"{"district":1,"fact":"sent","x":\#(shallow)}"#), .parked("nested deeper")),
            ("great depth", good.with(deep), .parked("longer than 8192")),
            ("1e400", good.with(#"{"district":1e400,"fact":"sent"}"#), .parked("")),
            ("1e400 beside", good.with(#"{"district":1,"fact":"sent","attempt":{"number":1e400}}"#), .parked("")),
            ("fraction", good.with(#"{"district":1.5,"fact":"sent"}"#), .parked("")),
            ("too great", good.with(#"{"district":9223372036854775808,"fact":"sent"}"#), .parked("")),
            ("octets", good.with(octets: [0x7b, 0xff, 0xfe, 0x7d]), .parked("not valid UTF-8")),
            ("overlong", good.with(octets: [0x22, 0xc0, 0x80, 0x22]), .parked("not valid UTF-8")),
            ("byte order mark", good.with("\u{feff}{\"district\":1,\"fact\":\"sent\"}"), .parked("byte order mark")),
            ("no value", good.with(octets: nil), .parked("not a JSON document")),
            ("nothing", good.with(""), .parked("not a JSON document")),
            ("two documents", good.with(#"{"district":1,"fact":"sent"} {}"#), .parked("not a JSON document")),
            ("long", good.with("\"" + String(repeating: "x", count: 9000) + "\""), .parked("longer than 8192")),
            ("fact", good.with(#"{"district":1,"fact":"levitated"}"#), .parked("unknown fact levitated")),
            ("no fact", good.with(#"{"district":1}"#), .parked("missing member \"fact\"")),
            ("district", good.with(#"{"district":-1,"fact":"sent"}"#), .parked("district is not positive")),
            ("attempt 0", good.with(attempt), .parked("attempt.number is not positive")),
            ("answer", good.with(answer), .parked("response is longer")),
        ]
    }

    private static func headers(_ good: Raw, _ timeless: Raw) -> [Case] {
        var bare = good
        bare.headers = []
        bare.key = nil
        var timeless = timeless
        timeless.timestampMs = .max
        let long = String(repeating: "i", count: 201)
        return [
            ("no header", bare, .parked("missing header ce_specversion")),
            ("type", good.with(header: "ce_type", text: "rollcall.delivery.observed.v9"), .parked("unknown event")),
            ("version", good.with(header: "ce_specversion", text: "2.0"), .parked("ce_specversion")),
            ("NUL in the type", good.with(header: "ce_type", [0x61, 0x00]), .parked("header ce_type contains a NUL")),
            ("NUL in the id", good.with(header: "ce_id", [0x61, 0x00]), .parked("header ce_id contains a NUL")),
            ("NUL in the source", good.with(header: "ce_source", [0x00]), .parked("header ce_source contains a NUL")),
            ("NUL in the time", good.with(header: "ce_time", [0x00, 0x31]), .parked("header ce_time contains a NUL")),
            ("id in octets", good.with(header: "ce_id", [0xff]), .parked("missing header ce_id")),
            ("long id", good.with(header: "ce_id", text: long), .parked("ce_id is longer")),
            ("time", good.with(header: "ce_time", text: "2026-02-30T00:00:00Z"), .parked("ce_time")),
            ("before 1970", good.with(header: "ce_time", text: "1970-01-01T00:00:00+23:59"), .parked("ce_time")),
            ("year 10000", good.with(header: "ce_time", text: "9999-12-31T23:59:59-23:59"), .parked("ce_time")),
            ("leap second", good.with(header: "ce_time", text: "9999-12-31T23:59:60Z"), .parked("ce_time")),
            ("subject", good.with(header: "ce_subject", text: "nobody"), .parked("ce_subject is not a delivery")),
            ("a time nobody can mean", timeless, .applied),
        ]
    }

    /// Each says what nobody else says of its delivery, and is followed by one that belongs.
    private static func places(_ rig: ProjectorRig) -> [Case] {
        func sent(_ number: Int32) -> Raw {
            Raw(rig.event(number, .sent, "sent-\(number)")).with(#"{"district":1,"fact":"sent"}"#)
        }
        func opened(_ number: Int32) -> Raw { Raw(rig.event(number, .opened, "opened-\(number)")) }
        let spelled = rig.event(5, .opened, "").delivery.description.uppercased()
        return [
            ("no key", opened(3).keyed(nil), .parked("the key is not the delivery")),
            ("another key", opened(3).keyed("k"), .parked("the key is not the delivery")),
            ("another's key", opened(3).keyed("\(rig.blast)/4"), .parked("the key is not the delivery")),
            ("behind another key", sent(3), .applied),
            ("another partition", opened(4).on((opened(4).home + 1) % 4), .parked("its key belongs on")),
            ("and another", opened(4).on((opened(4).home + 2) % 4), .parked("its key belongs on")),
            ("behind another partition", sent(4), .applied),
            ("a key in capitals", opened(5).keyed(spelled), .parked("the key is not the delivery")),
        ]
    }

    private static func deliveries(_ rig: ProjectorRig, _ good: Raw) async throws -> [Case] {
        _ = try await rig.database.query("DELETE FROM delivery_status WHERE recipient_no = 20")
        return [
            ("unknown", good.about("01900000-0000-7000-8000-00000000ffff/1"), .late),
            ("another's", good.with(#"{"district":99,"fact":"sent"}"#), .parked("belongs to another district")),
            ("expired", good.about("\(rig.blast)/20"), .late),
            ("early", Raw(rig.event(21, .opened, "early")), .late),
            ("good", good, .applied),
        ]
    }

    private static func expect(_ cases: [Case], in rig: ProjectorRig) async throws {
        var parked: [Place: String] = [:]
        for row in try await rig.database.query("SELECT part, record_offset, reason FROM dead_letter") {
            parked[try place(row)] = try row.string("reason")
        }
        let late = Set(try await rig.database.query("SELECT part, record_offset FROM late_event").map { try place($0) })
        var offsets: [Int32: Int64] = [:]
        for (name, record, fate) in cases {
            let part = record.partition ?? record.home
            let place = Place(part: part, offset: offsets[part, default: 0])
            offsets[part] = place.offset + 1
            let reason = parked[place]
            switch fate {
            case .parked(let words):
                #expect(reason != nil, "\(name)")
                #expect(words.isEmpty || reason?.contains(words) == true, "\(name): \(reason ?? "")")
            case .late: #expect(reason == nil && late.contains(place), "\(name)")
            case .applied: #expect(reason == nil && !late.contains(place), "\(name): \(reason ?? "")")
            }
        }
        #expect(try await rig.number("SELECT facts FROM delivery_status WHERE recipient_no = 1") == 1 | 1 << 20)
        #expect(try await rig.number("SELECT facts FROM delivery_status WHERE recipient_no = 2") == 1 | 1 << 34)
        for number in 3...4 {
            let facts = try await rig.number("SELECT facts FROM delivery_status WHERE recipient_no = \(number)")
            #expect(facts == 1 | 1 << 20, "recipient \(number)")
        }
        #expect(try await rig.number("SELECT facts FROM delivery_status WHERE recipient_no = 5") == 1)
        let letters = try await eventually("parked records are reported") {
            try await rig.stack.readAll(.deadLetters)
        } until: {
            Set($0.map { $0.header("ce_id") }).count == parked.count
        }
        #expect(letters.allSatisfy { $0.header("rollcall-reason")?.isEmpty == false })
    }

    /// What became of every record is counted, each fate apart: unless a partition had to be taken again, before which a
    /// batch may have been committed and not counted.
    private static func expectCounters(of cases: [Case], _ projector: ServiceProcess, in rig: ProjectorRig) async throws
    {
        var expected = ["applied": 0.0, "late": 0, "foreign": 0, "unreadable": 0, "repeated": 0]
        for one in cases {
            switch one.fate {
            case .parked("belongs to another district"): expected["foreign", default: 0] += 1
            case .parked: expected["unreadable", default: 0] += 1
            case .late: expected["late", default: 0] += 1
            case .applied: expected["applied", default: 0] += 1
            }
        }
        for (outcome, count) in expected {
            let name = "rollcall_projector_events_total{outcome=\"\(outcome)\"}"
            _ = try await eventually("\(name) is \(count)") {
                let isTakenAgain = try await rig.epochs().values.contains { $0 > 1 }
                return isTakenAgain ? count : try await rig.metric(name, of: projector)
            } until: {
                $0 == count
            }
        }
    }

    private static func place(_ row: PostgresRow) throws -> Place {
        Place(part: try row.int32("part"), offset: try row.int("record_offset"))
    }
}

extension ProjectorRig {
    fileprivate func put(_ lines: [[Any]]) async throws {
        var text = Data()
        for line in lines { text += try JSONSerialization.data(withJSONObject: line) + Data("\n".utf8) }
        let file = FileManager.default.temporaryDirectory.appending(path: "records-\(UUID().uuidString)")
        try text.write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        try await topics(["put", Topic.deliveryEvents.name], input: file)
    }
}
