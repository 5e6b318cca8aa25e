import Contracts
import Delivery
import Foundation
import Kafka
import Postgres
import TestKit
import Testing

/// How far a blast is, and that its report has ended, as the progress topic says it.
@Suite(.serialized) struct `The progress of a blast` {
    private static let settings = ["ROLLCALL_PROJECTOR_PROGRESS_SWEEP": "1s"]

    private static func counts(_ value: [UInt8]) throws -> [Int64: Int64] {
        let object = try #require(try JSONSerialization.jsonObject(with: Data(value)) as? [String: Any])
        var counts: [Int64: Int64] = [:]
        for row in try #require(object["counts"] as? [[String: Any]]) {
            counts[try #require(row["facts"] as? Int64)] = row["n"] as? Int64
        }
        return counts
    }

    /// What a reader keeps of a blast: the record with the latest `as_of`, and every announcement of the end.
    private func progress(of rig: ProjectorRig) async throws -> (counts: [Int64: Int64], ends: [String]) {
        var newest: (asOf: String, value: [String: Any])?
        var ends: [String] = []
        for record in try await rig.stack.readAll(.blastProgress) {
            guard record.key == Array(rig.blast.description.utf8) else { continue }
            let value = try #require(
                try JSONSerialization.jsonObject(with: Data(record.value ?? [])) as? [String: Any])
            if record.header("ce_type") == BlastExpiredRecord.type {
                ends.append(record.header("ce_id") ?? "")
                continue
            }
            let rows = try #require(value["counts"] as? [[String: Any]])
            let sum = rows.compactMap { $0["n"] as? Int64 }.reduce(0, +)
            #expect(sum == value["audience"] as? Int64, "counts sum to the audience in every record")
            let asOf = try #require(value["as_of"] as? String)
            if asOf > newest?.asOf ?? "" { newest = (asOf, value) }
        }
        var counts: [Int64: Int64] = [:]
        for row in newest?.value["counts"] as? [[String: Any]] ?? [] {
            counts[try #require(row["facts"] as? Int64)] = row["n"] as? Int64
        }
        return (counts, ends)
    }

    private func move(_ rig: ProjectorRig, ended: String, expires: String) async throws {
        _ = try await rig.database.query(
            """
            UPDATE blast SET state = 'sent', sending_ended_at = clock_timestamp() + $1::text::interval,
                   expires_at = clock_timestamp() + $2::text::interval
            """, [.text(ended), .text(expires)])
    }

    @Test func `is published by one owner, also long after sending, ends once, and is said again to an emptied topic`()
        async throws
    {
        try await ProjectorRig.with("progress") { rig in
            try await rig.insertBlast(recipients: 50)
            try await move(rig, ended: "-3 days", expires: "57 days")
            let both = [try rig.startProjector("a", Self.settings), try rig.startProjector("b", Self.settings)]
            try await eventually("each owns two partitions") {
                try both.allSatisfy { projector in
                    try projector.logged("partitions assigned", "kafka.partitions")?.split(separator: ",").count == 2
                }
            }
            let epochs = try await rig.epochs()
            try await rig.produce((1...20).map { rig.event($0, .sent, "s\($0)") })
            try await rig.waitUntilProjected(20)
            let sent = DeliveryFacts(.pending, .sent).bits
            _ = try await eventually("the sweep has published", every: .milliseconds(300)) {
                try await progress(of: rig).counts
            } until: {
                $0 == [DeliveryFacts.initial.bits: 30, sent: 20]
            }
            // An open on the third day still counts.
            let opened = DeliveryFacts(.pending, .sent, .opened).bits
            for number in 1...3 {
                try await rig.produce([rig.event(Int32(number), .opened, "o\(number)")])
                _ = try await eventually("the open is counted", every: .milliseconds(300)) {
                    try await progress(of: rig).counts
                } until: {
                    $0 == [DeliveryFacts.initial.bits: 30, sent: Int64(20 - number), opened: Int64(number)]
                }
            }
            #expect(try await progress(of: rig).ends.isEmpty)
            // Who takes a partition says what he finds; while nobody does, one of the two says each change, once.
            let said = try await rig.stack.readAll(.blastProgress).compactMap(\.value).map(Self.counts)
                .filter { $0.keys.contains(opened) }
            if try await rig.epochs() == epochs { #expect(said.count == Set(said).count, "\(said)") }

            try await move(rig, ended: "-60 days", expires: "-1 second")
            let announcement = "expired/\(rig.blast)"
            _ = try await eventually("the end is announced", every: .milliseconds(300)) {
                try await progress(of: rig).ends
            } until: {
                !$0.isEmpty
            }
            // A later sweep announces the next blast's end, and this one's no more.
            _ = try await rig.database.query(
                """
                INSERT INTO blast (blast_id, district_id, subject, text_template, from_address, in_doubt_policy, state,
                                   send_requested_at, audience, created_by, expires_at)
                SELECT blast_id, 1, 's', 't', 'a@b.example', 'at_most_once', 'sent', now(), 0, 'test', clock_timestamp()
                  FROM (SELECT mint_blast_id() AS blast_id FROM generate_series(1, 16)) AS new
                """)
            _ = try await eventually("every end is announced", every: .milliseconds(300)) {
                try await rig.number("SELECT count(*) FROM blast_expiry")
            } until: {
                $0 == 17
            }
            #expect(try await progress(of: rig).ends == [announcement])

            // A broker that lost the topic hears it again, and nothing else of the blast.
            try await rig.stack.restartBroker()
            try await rig.stack.createTopics()
            _ = try await eventually("the end is announced again", every: .milliseconds(500)) {
                try await progress(of: rig).ends
            } until: {
                !$0.isEmpty
            }
            let after = try await progress(of: rig)
            #expect(Set(after.ends) == [announcement] && after.counts.isEmpty)
        }
    }

    /// The last record of each blast: what a compacted topic keeps.
    private func last(of rig: ProjectorRig) async throws -> [[UInt8]: ConsumerRecord] {
        var last: [[UInt8]: ConsumerRecord] = [:]
        for record in try await rig.stack.readAll(.blastProgress) { last[record.key ?? []] = record }
        return last
    }

    private func repeatLate(_ record: ConsumerRecord, on rig: ProjectorRig) async throws {
        try await rig.produce(records: [
            ProducerRecord(
                topic: Topic.blastProgress.name, key: record.key ?? [], value: record.value, headers: record.headers)
        ])
    }

    @Test func `that a stopped owner publishes late does not stay the last word, before the end and after it`()
        async throws
    {
        try await ProjectorRig.with("progress-late") { rig in
            let key = { Array(rig.blast.description.utf8) }
            try await rig.insertBlast(recipients: 5)
            let settings = ["ROLLCALL_PROJECTOR_ZOMBIE_HORIZON": "12s", "ROLLCALL_PROJECTOR_PROGRESS_SWEEP": "1s"]
            let first = try rig.startProjector("first", settings)
            let old = try #require(
                try await eventually("the start is published", every: .milliseconds(300)) {
                    try await last(of: rig)[key()]
                } until: {
                    $0 != nil
                })
            try await rig.produce((1...5).map { rig.event($0, .sent, "s\($0)") })
            try await rig.waitUntilProjected(5)
            try await first.kill()
            let said = try await last(of: rig)[key()]?.value

            let heir = try rig.startProjector("heir", settings)
            _ = try await eventually("the heir has published", every: .milliseconds(300)) {
                try await last(of: rig)[key()]?.value
            } until: {
                $0 != said
            }
            try await repeatLate(old, on: rig)
            _ = try await eventually("the newest counts stand last", every: .milliseconds(500)) {
                String(decoding: try await last(of: rig)[key()]?.value ?? [], as: UTF8.self)
            } until: {
                $0.contains(#""sent""#)
            }
            #expect(try await heir.terminate() == 0)

            try await move(rig, ended: "-60 days", expires: "-1 second")
            _ = try rig.startProjector("last", settings)
            _ = try await eventually("the end is said", every: .milliseconds(300)) {
                try await last(of: rig)[key()]?.header("ce_type")
            } until: {
                $0 == BlastExpiredRecord.type
            }
            try await repeatLate(old, on: rig)
            _ = try await eventually("the end stands last", every: .milliseconds(500)) {
                try await last(of: rig)[key()]?.header("ce_type")
            } until: {
                $0 == BlastExpiredRecord.type
            }
        }
    }

    @Test func `is published of every blast, however many are kept`() async throws {
        try await ProjectorRig.with("progress-many") { rig in
            try await rig.insertBlast(recipients: 5)
            _ = try await rig.database.query(
                """
                WITH new AS (
                    INSERT INTO blast (blast_id, district_id, subject, text_template, from_address, in_doubt_policy, state,
                                       send_requested_at, audience, created_by, sending_ended_at, expires_at)
                    SELECT mint_blast_id(), 1, 's', 't', 'a@b.example', 'at_most_once', 'sent', now(), 7, 'test',
                           now() - interval '3 days', now() + interval '57 days'
                      FROM generate_series(1, 1300)
                    RETURNING blast_id, district_id)
                INSERT INTO blast_count SELECT blast_id, -1, 1, district_id, 4 FROM new
                 UNION ALL SELECT blast_id, 0, 1, district_id, 0 FROM new
                 UNION ALL SELECT blast_id, 0, 1048577, district_id, 3 FROM new
                """)
            _ = try rig.startProjector("only")
            let told = try await eventually("all are published", every: .milliseconds(500)) {
                try await last(of: rig)
            } until: {
                $0.count == 1301
            }
            let sums = try told.values.map { record in
                let value = try JSONSerialization.jsonObject(with: Data(record.value ?? [])) as? [String: Any]
                return (value?["counts"] as? [[String: Any]] ?? []).compactMap { $0["n"] as? Int64 }.reduce(0, +)
            }
            #expect(sums.count { $0 == 7 } == 1300 && sums.count { $0 == 5 } == 1)
        }
    }
}
