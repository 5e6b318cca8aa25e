import Contracts
import Testing

@Suite struct `Dead letters` {
    private func letter(value: [UInt8]?, reason: String = "not JSON") -> DeadLetter {
        DeadLetter(
            topic: "rollcall.commands.v1", partition: 3, offset: 17, clusterID: "c1", value: value, reason: reason,
            source: "/rollcall/blacklist-guard", atMicroseconds: 1_790_000_000_000_000)
    }

    @Test func `the headers say what, from where and why, and claim no content type`() {
        let headers = letter(value: [0xff]).headers
        #expect(
            headers.map(\.name) == [
                "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "rollcall-reason",
            ])
        #expect(
            headers.map(\.value) == [
                "1.0", "dead/c1/rollcall.commands.v1/3/17", "/rollcall/blacklist-guard", "rollcall.record.parked.v1",
                "2026-09-21T14:13:20.000000Z", "rollcall.commands.v1/3", "not JSON",
            ])
        #expect(letter(value: nil).key == Array("rollcall.commands.v1/3".utf8))
    }

    @Test func `every octet is kept up to 64 KiB, and a tombstone stays one`() {
        let octets = (0..<100_000).map { UInt8(truncatingIfNeeded: $0) }
        #expect(letter(value: octets).value == Array(octets.prefix(65_536)))
        #expect(letter(value: []).value == [])
        #expect(letter(value: nil).value == nil)
    }

    @Test func `a reason is bounded, whatever it quotes`() {
        let accents = "e" + String(repeating: "\u{301}", count: 5_000)
        #expect(letter(value: nil, reason: accents).reason.utf8.count < 401)
    }

    @Test func `the same part of a request has the same id wherever it comes again`() {
        let letters = [1, 2].map { time in
            DeadLetter(
                origin: "webhook/standard", digest: "ab12", value: [1], reason: "no id",
                source: "/rollcall/event-ingester", atMicroseconds: time)
        }
        #expect(letters.map(\.id) == ["dead/webhook/standard/ab12", "dead/webhook/standard/ab12"])
        #expect(letters[0].key == Array("webhook/standard".utf8))
    }
}
