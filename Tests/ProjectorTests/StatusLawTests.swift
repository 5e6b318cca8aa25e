import Delivery
import Foundation
import Postgres
import TestKit
import Testing

/// Any fact may be stated about any delivery, in any order: every set with `pending` is reachable. Tried are all sets of up
/// to four more facts and a sample of larger ones, with the facts of other programs' bits among them.
@Suite struct `What a set of facts shows` {
    @Test func `is the same in Swift, in SQL and in Python, for every vocabulary`() async throws {
        let sets = Self.sets
        try #require(sets.count > 80_000)
        let swift = sets.map(Self.line)
        let lines = sets.map { "\($0.bits)\n" }.joined()
        let input = FileManager.default.temporaryDirectory.appending(path: "sets-\(UUID().uuidString)")
        try Data(lines.utf8).write(to: input)
        defer { try? FileManager.default.removeItem(at: input) }
        let python = String(decoding: try await Reference.run(["words"], input: input), as: UTF8.self)
            .split(separator: "\n").map(String.init)
        try #require(python.count == sets.count)
        let sql = try await Self.shownBySQL(sets)
        try #require(sql.count == sets.count)
        let differing = sets.indices.filter { swift[$0] != python[$0] || swift[$0] != sql[$0] }
        #expect(differing.isEmpty)
        for index in differing.prefix(5) {
            Issue.record("Swift \(swift[index]), Python \(python[index]), SQL \(sql[index])")
        }
    }

    static let sets: [DeliveryFacts] = {
        let others = DeliveryFact.allCases.filter { $0 != .pending }
        var layers: [[DeliveryFacts]] = [[.initial]]
        var sets: Set<DeliveryFacts> = [.initial]
        for _ in 0..<4 {
            let next = Set((layers.last ?? []).flatMap { set in others.map { set.union($0) } })
            layers.append(Array(next))
            sets.formUnion(next)
        }
        var random = SeededGenerator(seed: 53)
        while sets.count < 82_000 {
            let share = Int.random(in: 1...9, using: &random)
            var set = DeliveryFacts(others.filter { _ in Int.random(in: 0..<10, using: &random) < share })
            if Int.random(in: 0..<50, using: &random) == 0 { set = set.union(DeliveryFacts(bits: 1 << 50)) }
            sets.insert(set.union(.pending))
        }
        return sets.sorted { $0.bits < $1.bits }
    }()

    private static let vocabularies = StatusVocabulary.all.sorted { $0.name < $1.name }

    private static func line(_ set: DeliveryFacts) -> String {
        let words = vocabularies.map { $0.word(for: set) }
        return
            ([
                "\(set.bits)", set.canonicalStatus.name, "\(set.version)", set.isFinal ? "1" : "0",
                set.isLateBounce ? "1" : "0",
            ] + words).joined(separator: "|")
    }

    /// From the published contract, as a consumer with a database would do it.
    private static func shownBySQL(_ sets: [DeliveryFacts]) async throws -> [String] {
        let contract = try String(
            contentsOf: ProjectFolder.root.appending(path: "Shared/Contracts/facts.json"), encoding: .utf8)
        let database = try await LocalStack.shared().database("words")
        let pool = PostgresPool(database.owner, size: 1)
        let rows = try await pool.query(
            """
            WITH contract AS MATERIALIZED (SELECT $1::jsonb AS c),
                 fact AS MATERIALIZED (SELECT key AS name, value::int AS bit
                                         FROM contract, jsonb_each_text(c -> 'facts')),
                 word AS MATERIALIZED (SELECT v.key AS vocabulary, (v.value ->> 'mask')::bigint AS mask, f.bit,
                                              w.value AS word
                                         FROM contract, jsonb_each(c -> 'vocabularies') v,
                                              jsonb_each_text(v.value -> 'words') w JOIN fact f ON f.name = w.key),
                 mask AS MATERIALIZED (SELECT DISTINCT vocabulary, mask FROM word),
                 s AS MATERIALIZED (SELECT facts, place FROM unnest($2::bigint[]) WITH ORDINALITY AS u(facts, place)),
                 shown AS (SELECT place, string_agg(w.word, '|' ORDER BY m.vocabulary COLLATE "C") AS words
                             FROM s CROSS JOIN mask m
                             JOIN word w ON w.vocabulary = m.vocabulary
                              AND w.bit = length(ltrim((s.facts & m.mask)::bit(64)::text, '0')) - 1
                            GROUP BY place)
            SELECT concat_ws('|', s.facts, f.name,
                             bit_count((s.facts & (c -> 'masks' ->> 'canonical')::bigint)::bit(64)) - 1,
                             (s.facts & (c -> 'masks' ->> 'final')::bigint <> 0)::int,
                             (s.facts & (1 << 30) <> 0 AND s.facts & (3 << 26) <> 0)::int, words) AS line
              FROM contract, s JOIN shown USING (place)
              JOIN fact f ON f.bit = length(ltrim((s.facts & (SELECT (c -> 'masks' ->> 'canonical')::bigint
                                                                FROM contract))::bit(64)::text, '0')) - 1
             ORDER BY place
            """, [.text(contract), .int8Array(sets.map(\.bits))])
        let lines = try rows.map { try $0.string("line") }
        await pool.close()
        return lines
    }
}
