import Kafka
import Testing

@testable import blacklist_guard

@Suite struct `Proof of freshness` {
    private let first = TopicPartition(topic: "t", partition: 0)
    private let second = TopicPartition(topic: "t", partition: 1)
    private let start = ContinuousClock.now

    private func expect(_ proven: Int64?, _ time: Int64?, at location: SourceLocation = #_sourceLocation) {
        #expect(proven == time, sourceLocation: location)
    }

    @Test func `an end that was fetched after the proof began proves the noted time, once`() {
        var freshness = Freshness(interval: .seconds(1))
        freshness.begin([first, second], at: 100, now: start, afterRecords: false)
        expect(freshness.ended(first), 100)
        expect(freshness.ended(first), nil)
        expect(freshness.ended(second), 100)
    }

    @Test func `an end without a proof under way proves nothing`() {
        var freshness = Freshness(interval: .seconds(1))
        expect(freshness.ended(first), nil)
        freshness.begin([first], at: 100, now: start, afterRecords: false)
        freshness.forget()
        expect(freshness.ended(first), nil)
    }

    @Test func `an end right behind records may be an old one and is not believed`() {
        var freshness = Freshness(interval: .seconds(1))
        freshness.begin([first], at: 100, now: start, afterRecords: true)
        expect(freshness.ended(first), nil)
        expect(freshness.ended(first), 100)
    }

    @Test func `under steady traffic reaching the watermark proves it, one record less does not`() {
        var freshness = Freshness(interval: .seconds(1))
        freshness.begin([first], at: 100, now: start, afterRecords: true)
        expect(freshness.advanced(first, to: 10), nil)
        let wanted = freshness.wantsTarget(first)
        #expect(wanted)
        freshness.setTarget(first, 20)
        let wantedAgain = freshness.wantsTarget(first)
        #expect(!wantedAgain)
        expect(freshness.advanced(first, to: 19), nil)
        expect(freshness.advanced(first, to: 20), 100)
        expect(freshness.advanced(first, to: 21), nil)
    }

    @Test func `a proof is due every interval, and one that hangs is given five`() {
        var freshness = Freshness(interval: .seconds(1))
        #expect(freshness.isDue(now: start))
        freshness.begin([first], at: 100, now: start, afterRecords: false)
        #expect(!freshness.isDue(now: start + .milliseconds(4_999)))
        #expect(freshness.isDue(now: start + .seconds(5)))
        _ = freshness.ended(first)
        #expect(!freshness.isDue(now: start + .milliseconds(999)))
        #expect(freshness.isDue(now: start + .seconds(1)))
    }
}
