import Contracts
import Delivery
import Postgres
import Testing

@testable import blacklist_guard

@Suite struct `Screening a chunk` {
    private func district() async throws -> District { try await GuardRig.shared.value.district() }

    @Test func `recipients without a usable address are left out, all others are cleared`() async throws {
        let district = try await district()
        let blast = try await district.blast([.usable("a@x.example"), .without, .malformed, .usable("b@x.example")])
        let outcome = try await district.screen(blast)
        #expect(outcome == .screened(recipients: 4, excluded: [.noAddress: 1, .invalid: 1]))
        #expect(try await district.decisions(blast) == [2: .noAddress, 3: .invalid])
    }

    @Test func `S-08: an address meant for other categories is not selected`() async throws {
        let district = try await district()
        let blast = try await district.blast(
            [
                .usable("a@x.example", for: ["attendance"]), .usable("b@x.example", for: ["emergency"]),
                .usable("c@x.example", for: []), .usable("d@x.example"),
            ], category: "attendance")
        try await district.screen(blast)
        #expect(try await district.decisions(blast) == [2: .notSelected, 3: .notSelected])
    }

    @Test func `I-19: an opted-out address is skipped, for its category or for all`() async throws {
        let district = try await district()
        let all = try await district.blast([.usable("all@x.example")])
        let newsletter = try await district.blast([.usable("news@x.example")], category: "newsletter")
        try await district.report(.optedOut, all)
        try await district.report(.optedOut, newsletter)

        let listed: [GuardRig.Listed] = [.usable("all@x.example"), .usable("NEWS@x.example")]
        let second = try await district.blast(listed, category: "newsletter")
        let third = try await district.blast(listed, category: "attendance")
        try await district.screen(second)
        try await district.screen(third)
        #expect(try await district.decisions(second) == [1: .skipped, 2: .skipped])
        #expect(try await district.decisions(third) == [1: .skipped])
    }

    @Test func `I-12, I-28: blacklisted addresses are blocked, by the reason they are there for`() async throws {
        let district = try await district()
        let listed: [GuardRig.Listed] = [
            .usable("bounce@x.example"), .usable("spam@x.example"), .usable("hand@x.example"), .usable("ok@x.example"),
        ]
        let first = try await district.blast(listed)
        try await district.report(.bounced, first, 1)
        try await district.report(.complained, first, 2)
        _ = try await district.command(.blacklistAdd, "hand@x.example")
        let second = try await district.blast(listed)
        try await district.screen(second)
        #expect(
            try await district.decisions(second) == [1: .blockedBounce, 2: .blockedComplaint, 3: .blockedInvalid])
    }

    @Test func `another district's blacklist and opt-outs block nobody here`() async throws {
        let other = try await district()
        let theirs = try await other.blast([.usable("a@x.example"), .usable("b@x.example")])
        try await other.report(.bounced, theirs, 1)
        try await other.report(.optedOut, theirs, 2)
        let district = try await district()
        let blast = try await district.blast([.usable("a@x.example"), .usable("b@x.example")])
        #expect(try await district.screen(blast) == .screened(recipients: 2, excluded: [:]))
    }

    @Test func `an emergency overrides opt-outs and categories, never the blacklist or a fault`() async throws {
        let district = try await district()
        let first = try await district.blast([
            .usable("out@x.example"), .usable("bounce@x.example"), .usable("spam@x.example"),
        ])
        try await district.report(.optedOut, first, 1)
        try await district.report(.bouncedInvalid, first, 2)
        try await district.report(.complained, first, 3)
        let emergency = try await district.blast(
            [
                .usable("out@x.example"), .usable("bounce@x.example"), .usable("spam@x.example"),
                .usable("news@x.example", for: ["newsletter"]), .without,
            ], category: "closing", isEmergency: true)
        try await district.screen(emergency)
        #expect(
            try await district.decisions(emergency) == [2: .blockedBounce, 3: .blockedComplaint, 5: .noAddress])
    }

    @Test func `the first rule that applies decides`() async throws {
        let district = try await district()
        let first = try await district.blast([.usable("a@x.example")])
        try await district.report(.optedOut, first)
        try await district.report(.bounced, first)
        let blast = try await district.blast(
            [
                GuardRig.Listed(categories: ["other"], fault: 6),
                GuardRig.Listed(address: "no at", categories: ["other"], fault: 14),
                .usable("a@x.example", for: ["other"]), .usable("a@x.example"),
            ])
        try await district.screen(blast)
        #expect(
            try await district.decisions(blast) == [1: .noAddress, 2: .invalid, 3: .notSelected, 4: .skipped])

        let bounced = try await district.blast([.usable("b@x.example")])
        try await district.report(.bounced, bounced)
        let twice = try await district.blast([.usable("b@x.example"), .usable("b@x.example")])
        try await district.screen(twice)
        #expect(try await district.decisions(twice) == [1: .blockedBounce, 2: .blockedBounce])
    }

    @Test func `K-02: of equal addresses the lowest usable one is sent to, across chunks`() async throws {
        let district = try await district()
        let blast = try await district.blast(
            [
                .usable("p@x.example", for: ["other"]), .usable("p@x.example"), .usable("q@x.example"),
                .usable("P@X.example"), .usable("q@x.example"), .usable("p@x.example"),
            ], chunkSize: 3)
        // The later chunk first: the order of screening does not matter.
        try await district.screen(blast, chunk: 2)
        try await district.screen(blast, chunk: 1)
        #expect(
            try await district.decisions(blast)
                == [1: .notSelected, 4: .duplicate, 5: .duplicate, 6: .duplicate])
        let rows = try await district.rig.owner.query(
            "SELECT original_recipient_no FROM decision WHERE blast_id = $1 AND fact = 10 ORDER BY recipient_no",
            [.uuid((blast.high, blast.low))])
        #expect(try rows.map { try $0.int("original_recipient_no") } == [2, 3, 2])
    }

    @Test func `I-14: who had the same content within four hours is left out, with the original named`() async throws {
        let district = try await district()
        let earlier = try await district.blast([.usable("a@x.example"), .usable("b@x.example"), .usable("c@x.example")])
        let blast = try await district.blast(
            [.usable("a@x.example"), .usable("b@x.example"), .usable("c@x.example"), .usable("d@x.example")])
        let merged = try await district.blast([.usable("a@x.example")])
        let owner = district.rig.owner
        _ = try await owner.query(
            "UPDATE blast SET content_hash = 'menu' WHERE blast_id = $1", [.uuid((blast.high, blast.low))])
        _ = try await owner.query(
            """
            WITH holder AS (
                INSERT INTO attempt (blast_id, recipient_no, attempt_no, district_id, chunk_no, state, address_hash,
                                     content_hash, settled_at)
                SELECT r.blast_id, r.recipient_no, 1, r.district_id, 1,
                       CASE r.recipient_no WHEN 3 THEN 'wire' ELSE 'accepted' END, r.address_hash, 'menu',
                       clock_timestamp() - CASE r.recipient_no
                           WHEN 1 THEN interval '3:59:00' WHEN 2 THEN interval '4:00:00' END
                  FROM recipient r WHERE r.blast_id = $1
                RETURNING *
            )
            INSERT INTO content_claim (district_id, address_hash, content_hash, blast_id, recipient_no)
            SELECT district_id, address_hash, content_hash, blast_id, recipient_no FROM holder
            """, [.uuid((earlier.high, earlier.low))])
        try await district.screen(blast)
        try await district.screen(merged)
        #expect(try await district.decisions(blast) == [1: .duplicate])
        #expect(try await district.decisions(merged) == [:])
        let row = try #require(
            try await owner.query(
                "SELECT rule, original_blast_id, original_recipient_no FROM decision WHERE blast_id = $1",
                [.uuid((blast.high, blast.low))]
            ).first)
        #expect(try row.string("rule") == "duplicate_content")
        let original = try row.uuid("original_blast_id")
        #expect(original.high == earlier.high && original.low == earlier.low)
        #expect(try row.int("original_recipient_no") == 1)
    }

    @Test func `a recipient that was left out makes no other one a duplicate`() async throws {
        let district = try await district()
        let first = try await district.blast([.usable("p@x.example")])
        try await district.report(.bounced, first)
        let blast = try await district.blast(
            [.usable("p@x.example"), .usable("p@x.example"), .usable("p@x.example")], chunkSize: 1)
        try await district.screen(blast, chunk: 1)
        _ = try await district.command(.blacklistReset, "p@x.example")
        try await district.screen(blast, chunk: 2)
        try await district.screen(blast, chunk: 3)
        #expect(try await district.decisions(blast) == [1: .blockedBounce, 3: .duplicate])
    }

    @Test func `a blast may send every copy`() async throws {
        let district = try await district()
        let blast = try await district.blast(
            [.usable("p@x.example"), .usable("p@x.example")], dedupes: "address+content")
        #expect(try await district.screen(blast) == .screened(recipients: 2, excluded: [:]))
    }

    @Test func `a second screening changes nothing, whatever was learned since, and is published again`() async throws {
        let district = try await district()
        let blast = try await district.blast([.usable("a@x.example"), .without])
        try await district.screen(blast)
        _ = try await district.rig.owner.query(
            "UPDATE screened_chunk SET reported_at = now() - interval '6 seconds' WHERE blast_id = $1",
            [.uuid((blast.high, blast.low))])
        try await district.report(.bounced, blast)
        #expect(try await district.screen(blast) == .repeated)
        #expect(try await district.decisions(blast) == [2: .noAddress])
        let row = try await district.rig.owner.query(
            "SELECT excluded, reported_at FROM screened_chunk WHERE blast_id = $1",
            [.uuid((blast.high, blast.low))])[0]
        #expect(try row.int("excluded") == 1)
        #expect(try row.isNull("reported_at"))
    }

    @Test func `what was published a moment ago is not published again for every repeated request`() async throws {
        let district = try await district()
        let blast = try await district.blast([.without])
        try await district.screen(blast)
        let key = [PostgresParameter.uuid((blast.high, blast.low))]
        _ = try await district.rig.owner.query(
            "UPDATE screened_chunk SET reported_at = clock_timestamp() WHERE blast_id = $1", key)
        #expect(try await district.screen(blast) == .repeated)
        let row = try await district.rig.owner.query(
            "SELECT reported_at FROM screened_chunk WHERE blast_id = $1", key)[0]
        #expect(try !row.isNull("reported_at"))
    }

    @Test func `guards side by side decide once`() async throws {
        let district = try await district()
        let blast = try await district.blast(
            (1...200).map { $0.isMultiple(of: 2) ? .without : .usable("r\($0)@x.example") })
        let outcomes = try await withThrowingTaskGroup(of: ChunkScreen.Outcome.self) { group in
            for _ in 0..<6 { group.addTask { try await district.screen(blast) } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.count { $0 == .screened(recipients: 200, excluded: [.noAddress: 100]) } == 1)
        #expect(outcomes.count { $0 == .repeated } == 5)
        #expect(try await district.decisions(blast).count == 100)
    }

    @Test func `a chunk that does not exist, or of a draft, is not screened`() async throws {
        let district = try await district()
        let blast = try await district.blast([.usable("a@x.example")])
        #expect(try await district.screen(blast, chunk: 2) == .unknown)
        _ = try await district.rig.owner.query(
            "UPDATE blast SET state = 'draft', send_requested_at = NULL WHERE blast_id = $1",
            [.uuid((blast.high, blast.low))])
        #expect(try await district.screen(blast) == .unknown)
    }
}
