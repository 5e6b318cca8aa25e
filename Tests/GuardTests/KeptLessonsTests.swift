import Delivery
import Postgres
import Testing

@testable import blacklist_guard

@Suite struct `Lessons that the database keeps` {
    @Test func `every page follows the one before, and only documents not expired teach`() async throws {
        let district = try await GuardRig.shared.value.district()
        let kept = KeptLessons(pool: district.rig.role)
        let recipients = (1...5).map { GuardRig.Listed.usable("r\($0)@x.example") }
        let blast = try await district.blast(recipients)
        let expired = try await district.blast(recipients)
        for blast in [blast, expired] {
            for number in 1...5 { try await fold(.bounced, of: blast, Int32(number), district) }
            try await fold(.inDoubt, of: blast, 6, district)
        }
        _ = try await district.rig.owner.query(
            "UPDATE blast SET expires_at = now() WHERE blast_id = $1", [.uuid((expired.high, expired.low))])

        var lessons: [Lesson] = []
        var place: KeptLessons.Place? = .start
        while let current = place {
            let page = try await kept.page(after: current, size: 2)
            lessons += page.lessons.filter { [blast, expired].contains($0.delivery.blast) }
            place = page.next
        }
        #expect(lessons.map(\.delivery) == (1...5).map { DeliveryID(blast: blast, recipientNumber: $0) })
        #expect(lessons.allSatisfy { $0.fact == .bounced && $0.eventID == "the bounce" && $0.evidence == "550" })
        #expect(lessons.allSatisfy { $0.occurredAtMicroseconds == 1_790_000_000_000_000 })
    }

    /// A delivery that was sent, came to this fact and was told something more.
    private func fold(_ fact: DeliveryFact, of blast: BlastID, _ recipient: Int32, _ district: District) async throws {
        _ = try await district.rig.owner.query(
            """
            WITH s AS (INSERT INTO delivery_status (blast_id, recipient_no, district_id, facts, part, last_seq)
                       VALUES ($1, $2::int, $4, 1, 1, $2::int * 3)),
                 p AS (INSERT INTO delivery_problem (blast_id, fact, recipient_no, district_id)
                       VALUES ($1, $3::int, $2::int, $4))
            INSERT INTO delivery_log (blast_id, part, seq, prev_seq, recipient_no, district_id, incarnation, event_id,
                                      source, fact, facts, attempts, changed_at, occurred_at, recorded_at, evidence)
            SELECT $1, 1, $2::int * 3 + n, CASE WHEN n > -2 THEN $2::int * 3 + n - 1 END, $2::int, $4, 1,
                   CASE n WHEN -1 THEN 'the bounce' ELSE 'another' END, 's',
                   CASE n WHEN -2 THEN 20 WHEN -1 THEN $3::int END, 1, 1, now(),
                   CASE n WHEN -1 THEN to_timestamp(1790000000) ELSE now() END, now(),
                   CASE n WHEN -1 THEN '550' END
              FROM generate_series(-2, 0) n
            """,
            [.uuid((blast.high, blast.low)), .int4(recipient), .int4(Int32(fact.rawValue)), .int(district.id.number)])
    }
}
