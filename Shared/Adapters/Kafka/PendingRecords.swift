/// Which records of which calls are still unacknowledged, and which wait to be handed to librdkafka.
///
/// A value without clocks and I/O: the producer's thread drives it.
struct PendingRecords {
    /// One record of one call, as the integer that travels through librdkafka and back.
    struct Reference {
        static let indexBits = 24
        let rawValue: UInt

        init(rawValue: UInt) {
            self.rawValue = rawValue
        }

        init(call: UInt, index: Int) {
            rawValue = call << Self.indexBits | UInt(index)
        }

        var call: UInt { rawValue >> Self.indexBits }
        var index: Int { Int(rawValue & (1 << Self.indexBits - 1)) }
    }

    /// A call that has ended; its continuation is due.
    struct Finished {
        let submission: ProducerInbox.Submission
        let failure: KafkaError?
    }

    private struct Call {
        let submission: ProducerInbox.Submission
        var remaining: Int
        var failure: KafkaError?
    }

    private struct Queue {
        private var references: [Reference] = []
        private var head = 0

        var first: Reference? { head < references.count ? references[head] : nil }

        mutating func append(_ reference: Reference) {
            references.append(reference)
        }

        mutating func removeFirst() {
            head += 1
            guard head == references.count || head > 4096 && head * 2 > references.count else { return }
            references.removeFirst(head)
            head = 0
        }
    }

    private var calls: [UInt: Call] = [:]
    private var lastCall: UInt = 0
    private var ready = Queue()
    /// Records whose topic does not exist, each topic in order. Later records of that topic queue up behind them, and
    /// those of other topics pass.
    private var parked: [String: Queue] = [:]

    var isEmpty: Bool { calls.isEmpty }
    var hasParked: Bool { !parked.isEmpty }

    mutating func add(_ submission: ProducerInbox.Submission) {
        lastCall += 1
        calls[lastCall] = Call(submission: submission, remaining: submission.records.count)
        for index in submission.records.indices {
            ready.append(Reference(call: lastCall, index: index))
        }
    }

    /// The next record to produce. Moves records behind parked ones of their topic out of the way.
    mutating func nextReady() -> (Reference, ProducerRecord)? {
        while let reference = ready.first {
            guard let record = record(reference) else {
                ready.removeFirst()
                continue
            }
            guard parked.isEmpty || parked[record.topic] == nil else {
                parked[record.topic]?.append(reference)
                ready.removeFirst()
                continue
            }
            return (reference, record)
        }
        return nil
    }

    mutating func removeReady() {
        ready.removeFirst()
    }

    mutating func park(_ reference: Reference) {
        guard let topic = record(reference)?.topic else { return }
        parked[topic, default: Queue()].append(reference)
    }

    var parkedTopics: [String] { Array(parked.keys) }

    mutating func nextParked(of topic: String) -> (Reference, ProducerRecord)? {
        while let reference = parked[topic]?.first {
            if let record = record(reference) { return (reference, record) }
            parked[topic]?.removeFirst()
        }
        parked[topic] = nil
        return nil
    }

    mutating func removeParked(of topic: String) {
        parked[topic]?.removeFirst()
    }

    /// Notes one record's fate; returns its call when that was the last one open.
    mutating func settle(_ reference: Reference, _ failure: KafkaError?) -> Finished? {
        guard let index = calls.index(forKey: reference.call) else { return nil }
        calls.values[index].remaining -= 1
        if let failure, calls.values[index].failure == nil { calls.values[index].failure = failure }
        guard calls.values[index].remaining == 0 else { return nil }
        let call = calls.remove(at: index).value
        return Finished(submission: call.submission, failure: call.failure)
    }

    /// Ends every open call with this error.
    mutating func failAll(_ failure: KafkaError) -> [Finished] {
        defer {
            calls = [:]
            ready = Queue()
            parked = [:]
        }
        return calls.values.map { Finished(submission: $0.submission, failure: $0.failure ?? failure) }
    }

    private func record(_ reference: Reference) -> ProducerRecord? {
        calls[reference.call]?.submission.records[reference.index]
    }
}
