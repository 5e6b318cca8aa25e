import Contracts
import Delivery
import Testing

@Suite struct `Contracts` {
    static let delivery = DeliveryID(
        blast: BlastID(high: 0x01a1_ffbb_5adf_7837, low: 0xbcb0_ab8d_18c2_dd2d), recipientNumber: 42)

    private func lookup(_ attributes: CloudEventAttributes) -> (String) -> String? {
        let headers = Dictionary(uniqueKeysWithValues: attributes.headers.map { ($0.name, $0.value) })
        return { headers[$0] }
    }

    @Test func `a delivery event reads back what it writes`() throws {
        let event = DeliveryEvent(
            id: "sender/x/42/1/sent", source: "/rollcall/sender", delivery: Self.delivery, district: DistrictID(7),
            fact: .sent, occurredAtMicroseconds: 1_790_000_000_123_456,
            attempt: .init(number: 1, atMicroseconds: 1_790_000_000_000_000), evidence: "250 2.0.0 Ok: \"queued\"")
        #expect(try DeliveryEvent(value: event.value(), header: lookup(event.attributes)) == event)
        #expect(String(decoding: event.key, as: UTF8.self) == "01a1ffbb-5adf-7837-bcb0-ab8d18c2dd2d/42")
    }

    @Test func `evidence is cut to 512 octets at a character`() {
        let event = DeliveryEvent(
            id: "x", source: "/x", delivery: Self.delivery, district: DistrictID(7), fact: .sent,
            occurredAtMicroseconds: 0, evidence: String(repeating: "é", count: 400))
        #expect(event.evidence.utf8.count == 512)
    }

    @Test func `a status record reads back what it writes and publishes no address`() throws {
        let record = DeliveryStatusRecord(
            delivery: Self.delivery, district: DistrictID(7), facts: DeliveryFacts(.pending, .sent, .delivered),
            versionFrom: 2, incarnation: 1, seq: 99, attempts: 1, lastAttemptAtMicroseconds: 1_790_000_000_000_000,
            response: nil, changedAtMicroseconds: 1_790_000_000_000_000, eventID: "e")
        #expect(try DeliveryStatusRecord(value: record.value()) == record)
        let text = String(decoding: try record.value(), as: UTF8.self)
        #expect(text.contains(#""status":"delivered""#))
        #expect(text.contains(#""final":true"#))
        #expect(!text.contains("@"))
    }

    @Test func `chunks and commands read back what they write`() throws {
        for stage in [ChunkMessage.Stage.requested, .cleared] {
            for isEmergency in [false, true] {
                let chunk = ChunkMessage(
                    stage: stage, blast: Self.delivery.blast, district: DistrictID(7), chunkNumber: 3,
                    firstRecipient: 1001, lastRecipient: 1500, isEmergency: isEmergency,
                    atMicroseconds: 1_790_000_000_000_000)
                #expect(try ChunkMessage(value: chunk.value(), header: lookup(chunk.attributes)) == chunk)
                #expect(chunk.topic.name.contains("emergency") == isEmergency)
            }
        }
        let command = Command(
            id: "c1", kind: .blacklistReset, district: DistrictID(7), target: "ab12", actor: "office",
            reason: "new box",
            atMicroseconds: 1_790_000_000_000_000)
        #expect(try Command(value: command.value(), header: lookup(command.attributes)) == command)
    }

    @Test(arguments: [
        "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "ce_specversion",
    ])
    func `a missing attribute is named`(name: String) throws {
        let event = DeliveryEvent(
            id: "x", source: "/x", delivery: Self.delivery, district: DistrictID(7), fact: .sent,
            occurredAtMicroseconds: 0)
        let full = lookup(event.attributes)
        let error = #expect(throws: ContractError.self) {
            try DeliveryEvent(value: event.value()) { $0 == name ? nil : full($0) }
        }
        #expect(error?.reason == "missing header \(name)")
    }

    @Test(arguments: [
        (#"{"a":1,"a":2}"#, "duplicate"), (#"{"a":{"b":1,"\u0062":2}}"#, "duplicate"), (#"{"a":"\u0000"}"#, "NUL"),
        (#"{"a":"\ud800"}"#, "surrogate"), (#"{"a":"\udc00\ud800"}"#, "surrogate"),
        (String(repeating: "[", count: 40) + String(repeating: "]", count: 40), "deeper"),
        ("\u{feff}{}", "byte order mark"), (#"{"a":"b"#, "inside a string"), (#"{"a":"\u00g0"}"#, "malformed"),
    ])
    func `documents with two meanings are refused before any decoder sees them`(text: String, reason: String) {
        let error = #expect(throws: ContractError.self) { try StrictJSON.check(Array(text.utf8)) }
        #expect(error?.reason.contains(reason) == true)
    }

    @Test func `invalid UTF-8 is refused`() {
        #expect(throws: ContractError.self) { try StrictJSON.check([0x22, 0xc3, 0x28, 0x22]) }
    }

    @Test func `equal keys of different objects, escapes and surrogate pairs are fine`() throws {
        try StrictJSON.check(Array(#"{"a":{"a":1},"b":[{"a":1},{"a":"\ud83d\ude00 \"a\":1"}]}"#.utf8))
    }

    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00.000000Z"), (1_709_164_800_000_001, "2024-02-29T00:00:00.000001Z"),
            (1_790_000_000_123_456, "2026-09-21T14:13:20.123456Z"),
            (4_102_444_799_999_999, "2099-12-31T23:59:59.999999Z"),
        ] as [(Int64, String)])
    func `times are RFC 3339 with microseconds and read back`(microseconds: Int64, text: String) {
        #expect(Timestamp.string(microseconds: microseconds) == text)
        #expect(Timestamp.microseconds(text) == microseconds)
    }

    @Test func `offsets are understood and nonsense is not`() {
        #expect(Timestamp.microseconds("2026-09-21T16:13:20+02:00") == 1_790_000_000_000_000)
        for text in ["", "yesterday", "2026-02-30T00:00:00Z", "2026-09-21T24:00:00Z", "2026-09-21T14:13:20", "1e400"] {
            #expect(Timestamp.microseconds(text) == nil, "\(text)")
        }
    }

    @Test func `what is read as a time is written as one that is read again, whatever its zone`() {
        for text in ["1970-01-01T23:59:00+23:59", "1969-12-31T23:59:00-23:59", "9999-12-31T23:59:59.999999Z"] {
            let read = Timestamp.microseconds(text)
            #expect(read != nil && read.map(Timestamp.string).flatMap(Timestamp.microseconds) == read, "\(text)")
        }
        for text in [
            "1970-01-01T00:00:00+00:01", "1970-01-01T23:58:59+23:59", "9999-12-31T23:59:60Z",
            "9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00Z",
        ] {
            #expect(Timestamp.microseconds(text) == nil, "\(text)")
        }
    }

    @Test func `every topic is named with its version and the events and status topics share their partitioning`() {
        for topic in Topic.all { #expect(topic.name.hasPrefix("rollcall.") && topic.name.hasSuffix(".v1")) }
        #expect(Topic.deliveryEvents.partitions == Topic.deliveryStatus.partitions)
        #expect(Topic.deliveryStatus.configuration(replicationFactor: 1)["min.compaction.lag.ms"] == "604800000")
    }

    @Test(arguments: [(1, "1"), (2, "2"), (3, "2"), (5, "2")])
    func `a write counts once two brokers have it, where there are two`(copies: Int16, inSync: String) {
        for topic in Topic.all {
            #expect(topic.configuration(replicationFactor: copies)["min.insync.replicas"] == inSync, "\(topic.name)")
        }
    }
}
