import Contracts
import Delivery
import Foundation
import Postgres
import Runtime
import TestKit
import Testing

@testable import report_api

/// A log of events, written as the projector writes it, and an independent account of it.
private struct PastRig: Sendable {
    struct Event: Sendable {
        let recipient: Int32
        let fact: DeliveryFact
        let recordedAt: Int64
        let seq: Int64
    }

    let rig: ReportRig
    let blast: BlastID
    let start: Int64
    let audience: Int
    private(set) var events: [Event] = []

    init(_ rig: ReportRig, audience: Int) async throws {
        self.rig = rig
        self.audience = audience
        blast = try await rig.blast(
            (1...audience).map { ReportRig.Person(name: "Person \($0)", facts: .initial) }, state: "sending")
        // Made an hour ago, sent half an hour ago.
        let row = try await rig.owner.query(
            """
            UPDATE blast SET created_at = date_trunc('second', now()) - interval '60 minutes',
                             send_requested_at = date_trunc('second', now()) - interval '30 minutes'
             WHERE blast_id = $1 RETURNING created_at
            """, [.uuid(high: blast.high, low: blast.low)])
        start = try row[0].timestampMicroseconds("created_at")
    }

    private var key: PostgresParameter { .uuid(high: blast.high, low: blast.low) }

    /// One record that bears a new fact, or an attempt without one, in one transaction with row and counters.
    mutating func record(_ recipient: Int32, _ fact: DeliveryFact, at recordedAt: Int64) async throws {
        let seq = Int64(events.count + 1)
        events.append(Event(recipient: recipient, fact: fact, recordedAt: recordedAt, seq: seq))
        try await Self.write(rig.owner, key, recipient, fact, recordedAt, seq)
    }

    static func write(
        _ owner: PostgresConnection, _ key: PostgresParameter, _ recipient: Int32, _ fact: DeliveryFact,
        _ recordedAt: Int64, _ seq: Int64
    ) async throws {
        _ = try await owner.query(
            """
            WITH old AS (SELECT facts, last_seq FROM delivery_status WHERE blast_id = $1 AND recipient_no = $2),
            new AS (
                UPDATE delivery_status s SET facts = s.facts | (1::bigint << $3::int), part = recipient_no % 2,
                       last_seq = $5, attempts = s.attempts + 1, changed_at = $4
                 WHERE blast_id = $1 AND recipient_no = $2 RETURNING s.facts, s.part, s.attempts
            ), log AS (
                INSERT INTO delivery_log (blast_id, part, seq, prev_seq, recipient_no, district_id, incarnation, event_id,
                                          source, fact, facts, attempts, changed_at, occurred_at, recorded_at, evidence)
                SELECT $1, new.part, $5, old.last_seq, $2, 1, 1, 'e' || $5, '/rollcall/sender',
                       CASE WHEN old.facts <> new.facts THEN $3 END, new.facts, new.attempts, $4, $4, $4, 'evidence ' || $5
                  FROM old, new
            )
            INSERT INTO blast_count (blast_id, part, facts, district_id, n)
            SELECT $1, new.part, d.facts, 1, d.n FROM old, new, LATERAL (VALUES (old.facts, -1), (new.facts, 1)) d (facts, n)
             WHERE old.facts <> new.facts
            ON CONFLICT (blast_id, part, facts) DO UPDATE SET n = blast_count.n + excluded.n
            """,
            [
                key, .int4(recipient), .int4(Int32(fact.rawValue)), .timestampMicroseconds(recordedAt), .int(seq),
            ])
    }

    /// Recipients' facts at a time, replayed from the events.
    func facts(at time: Int64) -> [DeliveryFacts] {
        var states = [DeliveryFacts](repeating: .initial, count: audience)
        // A delivery is as its last record of the time left it.
        var last: [Int32: Int64] = [:]
        for event in events where event.recordedAt <= time { last[event.recipient] = event.seq }
        for event in events where event.seq <= last[event.recipient] ?? 0 {
            states[Int(event.recipient) - 1] = states[Int(event.recipient) - 1].union(event.fact)
        }
        return states
    }
}

@Suite struct `The report of a past time` {
    private static func text(_ time: Int64) -> String { Timestamp.string(microseconds: time) }

    @Test func `counts, list and one delivery equal a replay of the log up to that time`() async throws {
        try await ReportRig.run { rig in
            var past = try await PastRig(rig, audience: 40)
            var random = SeededGenerator(seed: 17)
            let facts: [DeliveryFact] = [
                .deferred, .sent, .sent, .delivered, .delivered, .bounced, .opened, .machineOpen, .complained,
            ]
            var time = past.start + 31 * 60_000_000
            for index in 0..<160 {
                time += Int64.random(in: 0...2000, using: &random) * 1000
                // Clocks of producers differ: a later record may carry an earlier time.
                let skew = index % 9 == 0 ? Int64(-1_500_000) : 0
                try await past.record(
                    Int32.random(in: 1...30, using: &random), facts.randomElement(using: &random) ?? .sent,
                    at: time + skew)
            }
            let first = past.events.map(\.recordedAt).min() ?? 0
            let boundary = past.events[80].recordedAt
            let instants = [
                past.start, first - 1, first, boundary - 1, boundary, boundary + 1, past.events[40].recordedAt + 500,
                time - 1, time, time + 1_000_000,
            ]
            for instant in instants {
                let expected = past.facts(at: instant)
                let query = "as_of=\(Self.text(instant))"
                for vocabulary in [StatusVocabulary.schoolMessenger, .canonical] {
                    let counts = try await rig.get(
                        "/v1/blasts/\(past.blast)/counts?\(query)&vocabulary=\(vocabulary.name)"
                    ).json()
                    let words = try #require(counts["words"] as? [[String: Any]], "\(counts)")
                    for word in words {
                        let text = try #require(word["word"] as? String)
                        #expect(word["n"] as? Int == expected.count { vocabulary.word(for: $0) == text }, "\(text)")
                    }
                    #expect(counts["audience"] as? Int == past.audience)
                    #expect(counts["as_of"] as? String == Self.text(instant))
                    #expect(counts["late_bounces"] as? Int == expected.count(where: \.isLateBounce))
                    let rows = try await rig.all(
                        "/v1/blasts/\(past.blast)/recipients?\(query)&limit=15&vocabulary=\(vocabulary.name)")
                    #expect(rows.compactMap { $0["status"] as? String } == expected.map(vocabulary.word(for:)))
                    let bounced = try await rig.all(
                        "/v1/blasts/\(past.blast)/recipients?\(query)&status=bounced&limit=7")
                    #expect(
                        bounced.compactMap { $0["recipient_no"] as? Int }
                            == expected.indices.filter { expected[$0].canonicalStatus == .bounced }.map { $0 + 1 })
                }
                for number in stride(from: 1, through: past.audience, by: 4) {
                    let json = try await rig.get("/v1/blasts/\(past.blast)/recipients/\(number)?\(query)").json()
                    let recipient = try #require(json["recipient"] as? [String: Any])
                    let facts = expected[number - 1]
                    #expect(recipient["facts"] as? [String] == facts.names)
                    let timeline = try #require(json["timeline"] as? [[String: Any]])
                    #expect(timeline.last?["facts"] as? [String] ?? ["pending"] == facts.names)
                    #expect(recipient["attempts"] as? Int == timeline.count)
                }
            }
            let state = try await rig.get("/v1/blasts/\(past.blast)?as_of=\(Self.text(past.start))").json()
            #expect(state["state"] as? String == "draft")
            let later = try await rig.get("/v1/blasts/\(past.blast)?as_of=\(Self.text(first))").json()
            #expect(later["state"] as? String == "sending")
            // What is known now is what was known at the last moment.
            let now = try await rig.get("/v1/blasts/\(past.blast)/counts").json()
            let last = try await rig.get("/v1/blasts/\(past.blast)/counts?as_of=\(Self.text(time))").json()
            #expect(try #require(now["words"] as? NSArray) == #require(last["words"] as? NSArray))
        }
    }

    @Test func `a blast that waited for approval and for its time reads so at a time in between`() async throws {
        try await ReportRig.run { rig in
            let past = try await PastRig(rig, audience: 4)
            // Ordered after 30 minutes, approved after 40, begun after 50.
            _ = try await rig.owner.query(
                """
                UPDATE blast SET approval_until = created_at + interval '1 day', approved_by = 'Bob',
                                 approved_at = created_at + interval '40 minutes',
                                 released_at = created_at + interval '50 minutes'
                """)
            for (minute, state, ordered) in [
                (29, "draft", nil), (31, "awaiting_approval", 30), (41, "scheduled", 30), (51, "sending", 50),
            ] as [(Int64, String, Int64?)] {
                let asked = Self.text(past.start + minute * 60_000_000)
                let answer = try await rig.get("/v1/blasts/\(past.blast)?as_of=\(asked)").json()
                #expect(answer["state"] as? String == state, "minute \(minute)")
                let shown = ordered.map { Self.text(past.start + $0 * 60_000_000) }
                #expect(answer["send_requested_at"] as? String == shown, "minute \(minute)")
            }
        }
    }

    @Test func `the past stands still while a blast moves, and sums to the audience`() async throws {
        try await ReportRig.run { rig in
            var past = try await PastRig(rig, audience: 60)
            let moment = past.start + 40 * 60_000_000
            for number in 1...20 { try await past.record(Int32(number), .sent, at: moment - 1_000_000) }
            try await past.record(7, .delivered, at: moment)
            let key = PostgresParameter.uuid(high: past.blast.high, low: past.blast.low)
            let path = "/v1/blasts/\(past.blast)/counts?as_of=\(Self.text(moment))"
            let owner = rig.owner
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask {
                    for number in 1...60 {
                        try await PastRig.write(
                            owner, key, Int32(number), .opened, moment + Int64(number), Int64(1000 + number))
                    }
                }
                for _ in 0..<25 {
                    let counts = try await rig.get(path).json()
                    #expect(counts["audience"] as? Int == 60)
                    let words = counts["words"] as? [[String: Any]] ?? []
                    let numbers = Dictionary(
                        words.map { ($0["word"] as? String ?? "", $0["n"] as? Int ?? 0) }, uniquingKeysWith: +)
                    #expect(numbers["Pending"] == 40 && numbers["Sent"] == 19 && numbers["Delivered"] == 1)
                    #expect(numbers.values.reduce(0, +) == 60)
                }
                try await tasks.waitForAll()
            }
        }
    }

    @Test func `a time that cannot be answered is refused in words that say which can`() async throws {
        try await ReportRig.run { rig in
            let past = try await PastRig(rig, audience: 1)
            for (text, words) in [
                ("yesterday", "is not a time as RFC 3339"), ("2026-02-31T00:00:00Z", "is not a time"),
                ("2026-11-21T10:00", "is not a time"), ("2999-01-01T00:00:00Z", "lies in the future"),
                (Self.text(past.start - 1), "before this blast was made, at \(Self.text(past.start))"),
            ] {
                for suffix in ["", "/counts", "/recipients", "/recipients/1"] {
                    let answer = try await rig.get("/v1/blasts/\(past.blast)\(suffix)?as_of=\(text)")
                    #expect(answer.status == 400, "\(suffix) \(text)")
                    #expect(answer.text.contains(words), "\(answer.text)")
                }
            }
            // A zone is understood, with its plus sign escaped or not.
            let zoned = Self.text(past.start + 7_200_000_000).dropLast(8) + "+02:00"
            for text in [String(zoned), zoned.replacingOccurrences(of: "+", with: "%2B")] {
                let json = try await rig.get("/v1/blasts/\(past.blast)?as_of=\(text)").json()
                #expect(json["as_of"] as? String == Self.text(past.start))
            }
        }
    }

    @Test func `reading the past takes no longer than its limit`() async throws {
        try await ReportRig.run { rig in
            let owner = rig.owner
            _ = try await owner.query("BEGIN")
            let problem = await #expect(throws: Problem.self) {
                try await PastTime.bounded(seconds: 1, on: owner) {
                    _ = try await owner.query("SELECT pg_sleep(30)")
                }
            }
            _ = try await owner.query("ROLLBACK")
            #expect(problem?.slug == "as-of-too-large")
        }
    }

    @Test func `two reports of a past time are worked out at once, more have to wait, the newest never`()
        async throws
    {
        try await ReportRig.run { rig in
            let past = try await PastRig(rig, audience: 3)
            let path = "/v1/blasts/\(past.blast)"
            let cookie = try await rig.session(key: rig.readKey)
            let time = Self.text(past.start + 1_000_000)
            let asOf = "as_of=\(time)"
            _ = try await rig.owner.query("BEGIN")
            _ = try await rig.owner.query("LOCK TABLE delivery_log IN ACCESS EXCLUSIVE MODE")
            try await withThrowingTaskGroup(of: Int.self) { tasks in
                tasks.addTask { try await rig.get("\(path)/counts?\(asOf)").status }
                tasks.addTask { try await rig.page("/blasts/\(past.blast)?\(asOf)", cookie: cookie).status }
                _ = try await eventually("both wait for the records") {
                    try await rig.owner.query(
                        """
                        SELECT count(DISTINCT pid) AS n FROM pg_locks
                         WHERE NOT granted
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                        """
                    )[0].int("n")
                } until: {
                    $0 == 2
                }
                for path in [path, "\(path)/counts", "\(path)/recipients"] {
                    let third = try await rig.get("\(path)?\(asOf)")
                    #expect(third.status == 503 && third.headers["retry-after"] == "5", "\(third.text)")
                }
                #expect(try await rig.get("\(path)/counts").status == 200)
                #expect(try await rig.page("/blasts/\(past.blast)?\(asOf)", cookie: cookie).status == 503)
                _ = try await rig.owner.query("ROLLBACK")
                for try await status in tasks { #expect(status == 200) }
            }
            #expect(try await rig.get("\(path)/counts?\(asOf)").status == 200)
        }
    }

    @Test func `the page of a past time shows its numbers, keeps the time in its links and does not renew itself`()
        async throws
    {
        try await ReportRig.run { rig in
            var past = try await PastRig(rig, audience: 4)
            let moment = past.start + 45 * 60_000_000
            try await past.record(1, .sent, at: moment)
            try await past.record(1, .opened, at: moment + 5_000_000)
            let cookie = try await rig.session(key: rig.readKey)
            let times = LocalTime(zone: "America/Chicago")
            let field = times.fieldText(moment)
            #expect(times.microseconds(field) == moment)
            let page = try await rig.page("/blasts/\(past.blast)?as_of=\(FormFields.escape(field))", cookie: cookie)
                .text
            #expect(page.contains("This is how it was at \(times.precise(moment))"))
            #expect(page.contains(#"data-interval="0""#) && !page.contains("http-equiv=\"refresh\""))
            #expect(page.contains(">Sent<") && !page.contains(">Opened<span"))
            let link = try #require(page.firstMatch(of: /href="([^"]*recipients\/1[^"]*)"/)).output.1
            #expect(link.contains("as_of="))
            let why = try await rig.page(String(link).replacingOccurrences(of: "&amp;", with: "&"), cookie: cookie).text
            #expect(why.contains("Why this status: <span class=\"dot underway\"></span>Sent"))
            #expect(why.contains("This is how it was at"))
        }
    }
}
