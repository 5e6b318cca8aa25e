import Contracts
import Delivery
import Foundation
import TestKit
import Testing

/// The busiest shapes are read and written without the general coders: nothing about them may differ.
@Suite struct `The plain spelling` {
    static let texts = [
        "", "a", "Yes", "it's \"quoted\"", "back\\slash", "a/b", "line\nbreak\r\ttab", "\u{8}\u{c}\u{1}\u{1f}",
        "\u{7f}",
        "é", "e\u{301}", "日本", "👩‍👧", "\u{2028}\u{2029}", "\u{fffd}", "</script>", "K\u{212a}",
    ]

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Status: Codable {
        let blast_id: String
        let recipient_no: Int32
        let district: Int64
        let facts: Int64
        let fact_names: [String]
        let status: String
        let version: Int
        let version_from: Int
        let incarnation: Int32
        let seq: Int64
        let final: Bool
        let attempts: Int32
        let last_attempt_at: String?
        let response: String?
        let changed_at: String
        let event_id: String
        let person_ref: String?
    }

    @Test(arguments: 0..<200) func `a status is spelled as the general encoder spells it`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let text = { (random: inout SeededGenerator) in Self.texts.randomElement(using: &random) ?? "" }
        let record = DeliveryStatusRecord(
            delivery: DeliveryID(
                blast: BlastID(high: random.next(), low: random.next()),
                recipientNumber: Int32.random(in: 1 ... .max, using: &random)),
            district: DistrictID(Int64.random(in: 1 ... .max, using: &random)),
            facts: DeliveryFacts(DeliveryFact.allCases.filter { _ in Bool.random(using: &random) }).union(.pending),
            versionFrom: Int.random(in: 0...20, using: &random),
            incarnation: Int32.random(in: 0 ... .max, using: &random),
            seq: Int64.random(in: 0 ... .max, using: &random), attempts: Int32.random(in: 0...9, using: &random),
            lastAttemptAtMicroseconds: Bool.random(using: &random)
                ? Int64.random(in: 0...253_402_300_799_999_999, using: &random) : nil,
            response: Bool.random(using: &random) ? text(&random) : nil,
            changedAtMicroseconds: Int64.random(in: 0...253_402_300_799_999_999, using: &random),
            eventID: text(&random), personReference: Bool.random(using: &random) ? text(&random) : nil)
        let value = try record.value()
        let general = try StrictJSON.encode(try JSONDecoder().decode(Status.self, from: Data(value)))
        #expect(String(decoding: value, as: UTF8.self) == String(decoding: general, as: UTF8.self), "seed \(seed)")
        #expect(value == general, "seed \(seed)")
        #expect(try DeliveryStatusRecord(value: value) == record, "seed \(seed)")
        let headers = record.attributes.headers
        let octets = record.headerOctets(key: record.key)
        #expect(octets.map(\.name) == headers.map(\.name))
        #expect(octets.map(\.value) == headers.map { Array($0.value.utf8) }, "seed \(seed)")
    }

    private struct Event: Codable {
        struct Attempt: Codable {
            let number: Int32
            let at: String
        }

        let district: Int64
        let fact: String
        let attempt: Attempt?
        let response: String?
        let evidence: String?
    }

    @Test(arguments: 0..<200) func `an event is spelled as the general encoder spells it`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let text = { (random: inout SeededGenerator) in Self.texts.randomElement(using: &random) ?? "" }
        let times: ClosedRange<Int64> = 0...253_402_300_799_999_999
        let event = DeliveryEvent(
            id: "x" + text(&random), source: "/y" + text(&random),
            delivery: DeliveryID(
                blast: BlastID(high: random.next(), low: random.next()),
                recipientNumber: Int32.random(in: 1 ... .max, using: &random)),
            district: DistrictID(Int64.random(in: 1 ... .max, using: &random)),
            fact: try #require(DeliveryFact.allCases.randomElement(using: &random)),
            occurredAtMicroseconds: Int64.random(in: times, using: &random),
            attempt: Bool.random(using: &random)
                ? DeliveryEvent.Attempt(
                    number: Int32.random(in: 1 ... .max, using: &random),
                    atMicroseconds: Int64.random(in: times, using: &random)) : nil,
            response: Bool.random(using: &random) ? text(&random) : nil, evidence: text(&random))
        let value = try event.value()
        let general = try StrictJSON.encode(try JSONDecoder().decode(Event.self, from: Data(value)))
        #expect(String(decoding: value, as: UTF8.self) == String(decoding: general, as: UTF8.self), "seed \(seed)")
        #expect(value == general, "seed \(seed)")
        let headers = event.attributes.headers
        let octets = event.headerOctets(key: event.key)
        #expect(octets.map(\.name) == headers.map(\.name))
        #expect(octets.map(\.value) == headers.map { Array($0.value.utf8) }, "seed \(seed)")
        let given = Dictionary(uniqueKeysWithValues: headers.map { ($0.name, $0.value) })
        #expect(Self.readGenerally(value, given) == event, "seed \(seed)")
    }

    static let headers = [
        "ce_specversion": "1.0", "ce_id": "x", "ce_source": "/rollcall/sender", "ce_type": DeliveryEvent.type,
        "ce_time": "2026-11-21T10:00:00.000001Z", "ce_subject": "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2d/42",
    ]

    /// As the projector reads: plainly where that is possible.
    private static func read(_ value: [UInt8], _ headers: [String: String] = headers) -> DeliveryEvent? {
        if let plain = DeliveryEvent(plain: value, header: { headers[$0].map { Array($0.utf8) } }) { return plain }
        return readGenerally(value, headers)
    }

    private static func readGenerally(_ value: [UInt8], _ headers: [String: String] = headers) -> DeliveryEvent? {
        try? DeliveryEvent(value: value) { headers[$0] }
    }

    static let documents = [
        #"{"district":7,"evidence":"250 2.0.0 OK","fact":"sent"}"#,
        #"{"attempt":{"at":"2026-11-21T10:00:00Z","number":2},"district":7,"fact":"deferred"}"#,
        #"{"district":7,"fact":"responded","response":"Yes, I am safe – é"}"#,
        #"{"district":9007199254740993,"evidence":"","fact":"opened","response":""}"#,
    ]

    @Test func `our own spelling is read`() throws {
        for document in Self.documents {
            let plain = DeliveryEvent(plain: Array(document.utf8)) { Self.headers[$0].map { Array($0.utf8) } }
            #expect(plain != nil, "\(document)")
            #expect(plain == Self.readGenerally([0x20] + Array(document.utf8)), "\(document)")
        }
    }

    @Test func `a damaged header has the fate that the general reader gives it`() {
        let value = Array(Self.documents[0].utf8)
        let spaced = [0x20] + value
        for (name, sound) in Self.headers {
            for damaged in [
                nil, "", " " + sound, sound + " ", sound + "\0", sound.uppercased(), sound + "é",
                String(sound.dropLast()),
                "0" + sound, sound.replacing("-", with: "‐"), String(repeating: "x", count: 201),
                "2026-11-21t10:00:00z",
                "2026-11-21T10:00:00.5+01:30", "2026-02-30T10:00:00Z",
            ] {
                var headers = Self.headers
                headers[name] = damaged
                #expect(Self.read(value, headers) == Self.readGenerally(spaced, headers), "\(name): \(damaged ?? "-")")
            }
        }
    }

    /// A space in front sends a document to the general decoder.
    @Test(arguments: 0..<40) func `a damaged document has the fate that the general decoder gives it`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let pieces = Self.documents.map { Array($0.utf8) }
        let splinters: [[UInt8]] = [
            Array(#"""#.utf8), Array(#"\"#.utf8), Array(#"\u0041"#.utf8), Array("{".utf8), Array("}".utf8),
            Array(",".utf8),
            Array(":".utf8), Array("0".utf8), Array("-".utf8), Array("1e3".utf8), Array(".0".utf8), Array("null".utf8),
            Array("true".utf8), [0], [0x1f], [0x7f], [0xc3], [0xc3, 0xa9], [0xed, 0xa0, 0x80], Array(" ".utf8),
            Array(#","district":8"#.utf8), Array(#","more":[1]"#.utf8), Array("99999999999999999999".utf8),
        ]
        var accepted = 0
        for _ in 0..<500 {
            var value = pieces.randomElement(using: &random) ?? []
            for _ in 0..<Int.random(in: 0...2, using: &random) {
                let at = Int.random(in: 0..<value.count, using: &random)
                let length = Int.random(in: 0...min(3, value.count - at), using: &random)
                let splinter = Bool.random(using: &random) ? splinters.randomElement(using: &random) ?? [] : []
                value.replaceSubrange(at..<at + length, with: splinter)
            }
            let seen = Self.read(value)
            #expect(
                seen == Self.readGenerally([0x20] + value), "seed \(seed): \(String(decoding: value, as: UTF8.self))")
            if seen != nil { accepted += 1 }
        }
        #expect((100...499).contains(accepted), "seed \(seed): the damage is too great or too small to tell anything")
    }

    @Test func `times and identifiers are spelled and read as before`() throws {
        for (microseconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"), (1_790_000_000_123_456, "2026-09-21T14:13:20.123456Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
        ] as [(Int64, String)] {
            #expect(Timestamp.string(microseconds: microseconds) == text)
            #expect(Timestamp.microseconds(text) == microseconds)
        }
        let id = "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2d"
        #expect(DeliveryID("\(id)/42")?.description == "\(id)/42")
        #expect(DeliveryID("\(id)/2147483647")?.recipientNumber == .max)
        for bad in ["/1", "/0", "/01", "/+1", "/-1", "/2147483648", "/99999999999999999999", "/", "", "/1/1", "/1 "] {
            #expect(DeliveryID((bad == "/1" ? "" : id) + bad) == nil, "\(bad)")
        }
    }
}
