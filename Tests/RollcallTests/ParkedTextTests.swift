import Kafka
import Testing

@testable import rollcall

/// What an operator sees of parked records, without a server.
@Suite struct `Parked records as text` {
    @Test(arguments: [
        (Array("plain, Ünïcode 😀".utf8), "plain, Ünïcode 😀"),
        (Array("\u{1B}]0;x\u{7}\r\n".utf8), #"\u{1b}]0;x\u{7}\u{d}\u{a}"#),
        (Array("a\u{202E}b\u{9B}c\u{2028}d".utf8), #"a\u{202e}b\u{9b}c\u{2028}d"#), ([0xff, 0x0a], "0xff0a"), ([], ""),
    ])
    func `octets reach the terminal visible and harmless`(octets: [UInt8], shown: String) {
        #expect(Terminal.escaped(octets) == shown)
    }

    @Test func `an id of a dead letter names the record's place, whatever the cluster is called`() {
        for cluster in ["5L6g3nShT-eMCtK--X86sw", "a/b", ""] {
            let place = ParkedRecord.Place(
                cluster: cluster, partition: TopicPartition(topic: "rollcall.commands.v1", partition: 3), offset: 17)
            #expect(ParkedRecord.place(ofID: ParkedRecord.id(.unreadable, place)) == place)
        }
        for id in ["dead/webhook/standard/00ff", "dead/c/t/1/-1", "late/c/t/1/1", "dead/c/t/x/1", ""] {
            #expect(ParkedRecord.place(ofID: id) == nil, "\(id)")
        }
    }

    @Test func `a line of JSON is whole and has nothing invisible`() throws {
        let place = ParkedRecord.Place(
            cluster: "c", partition: TopicPartition(topic: "t", partition: 0), offset: 1)
        let record = ParkedRecord(
            .unreadable, place: place, reason: "evil \u{202E}\u{9B}\u{7F}\n\u{E0001}", key: nil, value: [0],
            headers: [KafkaHeader(name: "n\u{85}", value: [255])], parkedAtMicroseconds: 0)
        let json = try record.json(headers: record.headers, withContent: true)
        #expect(json.unicodeScalars.allSatisfy(Terminal.isVisible))
        #expect(json.contains(#""reason":"evil \u202e\u009b\u007f\n\udb40\udc01""#), "\(json)")
        #expect(json.contains(#"{"name":"n\u0085","value_base64":"/w=="}"#), "\(json)")
    }

    @Test func `an age or a time says since when`() throws {
        #expect(ParkedFilter.Since(argument: "1970-01-01T00:00:01Z")?.microseconds == 1_000_000)
        let hour = try #require(ParkedFilter.Since(argument: "60m")).microseconds
        let same = try #require(ParkedFilter.Since(argument: "1h")).microseconds
        #expect(abs(hour - same) < 60_000_000)
        for wrong in ["", "h", "1", "-1h", "1w", "yesterday"] {
            #expect(ParkedFilter.Since(argument: wrong) == nil, "\(wrong)")
        }
    }

    @Test func `progress tells records, rate, rest and offsets`() {
        let progress = RebuildWatch.Progress(
            parts: [.init(part: 0, next: 30, until: 100), .init(part: 1, next: 120, until: 100)], impossible: nil)
        #expect(
            RebuildWatch.line(progress, projected: 10, seconds: 2)
                == "130 of 200 records (65 %), 5/s, about 15 s left; offsets 0: 30/100, 1: 120/100")
        #expect(RebuildWatch.line(progress, projected: 0, seconds: 2).contains("no projector has moved it yet"))
    }
}
