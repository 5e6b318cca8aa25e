import Delivery
import Logging
import Postgres
import Runtime
import TestKit
import Testing

@testable import sender

@Suite("Chunk queue and lease")
struct DispatchQueueTests {
    @Test func `emergency first, then the district with the least in work, and a held chunk is nobody else's`()
        async throws
    {
        let rig = try await DispatchRig.make("queue")
        let first = try await rig.blast(["a"])
        let second = try await rig.blast(["b"])
        let other = try await rig.blast(["c"], district: 8)
        let emergency = try await rig.blast(["d"], isEmergency: true)
        let queue = ChunkQueue(database: rig.dispatch)
        var taken: [BlastID] = []
        while let chunk = try await queue.take(rig.lease, onlyEmergency: false) { taken.append(chunk.blast) }
        #expect(taken == [emergency, other, first, second])
        await rig.close()
    }

    @Test func `a chunk is taken over when its lease has run out, a paused blast's only when cancelled`() async throws {
        let rig = try await DispatchRig.make("takeover")
        let blast = try await rig.blast(["a"])
        let queue = ChunkQueue(database: rig.dispatch)
        let chunk = try #require(try await queue.take(rig.lease, onlyEmergency: false))
        _ = try await rig.owner.query("UPDATE sender_lease SET lease_until = clock_timestamp() - interval '1 ms'")
        let lease = SenderLease(
            database: rig.dispatch, duration: .seconds(60), instance: "other", logger: Logger(label: "test"),
            lost: Metrics().counter("lost_total", help: "x"))
        try await lease.beat()
        let token = try #require(await lease.current)
        #expect(try await queue.take(token, onlyEmergency: true) == nil)
        #expect(try await queue.take(rig.lease, onlyEmergency: false) == nil, "a dead token takes nothing")
        #expect(try await queue.take(token, onlyEmergency: false) == chunk)
        try await queue.release(chunk, token)
        try await rig.change("UPDATE blast SET paused_at = now() WHERE blast_id = $1", blast)
        #expect(try await queue.take(token, onlyEmergency: false) == nil)
        try await rig.change("UPDATE blast SET cancelled_at = now() WHERE blast_id = $1", blast)
        let last = try #require(try await queue.take(token, onlyEmergency: false))
        #expect(last.blast == blast && last.hasEnded && !chunk.hasEnded)
        await rig.close()
    }

    @Test func `a paused blast whose time has passed is worked on: its recipients are told that it was cancelled`()
        async throws
    {
        let rig = try await DispatchRig.make("expired_pause")
        let blast = try await rig.blast(["a"])
        let queue = ChunkQueue(database: rig.dispatch)
        try await rig.change(
            "UPDATE blast SET paused_at = now(), not_after = now() + interval '1 h' WHERE blast_id = $1", blast)
        #expect(try await queue.take(rig.lease, onlyEmergency: false) == nil)
        try await rig.change("UPDATE blast SET not_after = now() - interval '1 s' WHERE blast_id = $1", blast)
        #expect(try await queue.take(rig.lease, onlyEmergency: false)?.blast == blast)
        await rig.close()
    }

    @Test(arguments: ["cancelled_at = now()", "paused_at = now(), not_after = now() - interval '1 second'"])
    func `a delivery that waits for its retry is told at once when its blast ends`(change: String) async throws {
        let rig = try await DispatchRig.make("ended_retry")
        let blast = try await rig.blast(["a"])
        _ = try await rig.verdicts([rig.entry(1, "a")], blast)
        try await rig.settle(blast, 1, .deferred)
        let queue = RetryQueue(database: rig.dispatch, guardFreshness: .seconds(10))
        let wire = Wire(database: rig.dispatch, leaseMargin: .seconds(1), guardFreshness: .seconds(10))
        #expect(try await queue.blastsWithDue(limit: 8).isEmpty)
        try await rig.change("UPDATE blast SET \(change) WHERE blast_id = $1", blast)
        #expect(try await queue.blastsWithDue(limit: 8).map(\.blast) == [blast])
        _ = try await queue.pull(upTo: 10, of: blast, over: Channel.allCases) { due, connection in
            try await wire.write(
                due.map { rig.entry($0.recipient.number, "a", attempt: $0.attempt + 1) }, of: blast, rig.lease,
                on: connection)
        }
        #expect(try await rig.attempts(blast) == ["1/1 deferred 4", "1/2 stopped 16"])
        await rig.close()
    }

    @Test func `an unanswered request is repeated after 10 s, and then less and less often`() async throws {
        let rig = try await DispatchRig.make("repeat")
        let blast = try await rig.blast(["a"])
        try await rig.change("UPDATE chunk SET state = 'requested' WHERE blast_id = $1", blast)
        for (age, silence, isDue) in [
            ("0 s", nil, true), ("20 s", "5 s", false), ("20 s", "11 s", true), ("400 s", "90 s", false),
            ("400 s", "110 s", true),
        ] as [(String, String?, Bool)] {
            _ = try await rig.owner.query(
                "UPDATE blast SET send_requested_at = now() - $1::text::interval", [.text(age)])
            _ = try await rig.owner.query(
                "UPDATE chunk SET requested_reported_at = now() - $1::text::interval", [.text(silence)])
            let due = try await rig.dispatch.query(ChunkPublisher.unreported, [.int(10), .int(10_000_000)])
            #expect(due.count == (isDue ? 1 : 0), "\(age) after the order, \(silence ?? "never") asked")
        }
        await rig.close()
    }

    @Test(arguments: [(24, 1), (1, 24), (3, 8)])
    func `many takers at once never take the same chunk, and leave none`(blasts: Int, chunks: Int) async throws {
        let rig = try await DispatchRig.make("takers_\(blasts)")
        for _ in 0..<blasts {
            let blast = try await rig.blast(["a"])
            _ = try await rig.owner.query(
                """
                INSERT INTO chunk (blast_id, chunk_no, district_id, class, first_no, last_no, state)
                SELECT $1, n, 7, 'general', n, n, 'cleared' FROM generate_series(2, $2) n
                """, [.uuid(blast), .int4(Int32(chunks))])
        }
        let queue = ChunkQueue(database: rig.dispatch)
        let taken = try await withThrowingTaskGroup(of: [String].self) { group in
            for _ in 0..<8 {
                group.addTask {
                    var mine: [String] = []
                    while let chunk = try await queue.take(rig.lease, onlyEmergency: false) {
                        mine.append("\(chunk.blast)/\(chunk.number)")
                    }
                    return mine
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(taken.count == Set(taken).count)
        var rest = taken
        while let chunk = try await queue.take(rig.lease, onlyEmergency: false) {
            rest.append("\(chunk.blast)/\(chunk.number)")
        }
        #expect(rest.count == blasts * chunks && Set(rest).count == rest.count)
        await rig.close()
    }

    @Test func `what waits behind costs nothing: a chunk is taken without a look at the others`() async throws {
        let rig = try await DispatchRig.make("behind")
        for district in [7, 8, 7] as [Int64] {
            let blast = try await rig.blast(["a"], district: district)
            _ = try await rig.owner.query(
                """
                INSERT INTO chunk (blast_id, chunk_no, district_id, class, first_no, last_no, state)
                SELECT $1, n, $2, 'general', n, n, 'cleared' FROM generate_series(2, 1000) n
                """, [.uuid(blast), .int(district)])
        }
        let queue = ChunkQueue(database: rig.dispatch)
        for _ in 1...3 { _ = try #require(try await queue.take(rig.lease, onlyEmergency: false)) }
        let looked = try await rig.dispatch.withTransaction { connection in
            let parameters: [PostgresParameter] = [rig.lease.parameter, .bool(false), .textArray([])]
            #expect(try await connection.query(ChunkQueue.take, parameters).count == 1)
            let rows = try await connection.query(
                "SELECT seq_tup_read + idx_tup_fetch AS n FROM pg_stat_xact_user_tables WHERE relname = 'chunk'")
            return try rows[0].int("n")
        }
        #expect((1...20).contains(looked), "\(looked) chunks")
        await rig.close()
    }

    @Test func `a lease that has run out is never renewed: the process gets another token`() async throws {
        let rig = try await DispatchRig.make("renew")
        let lost = Metrics().counter("lost_total", help: "x")
        let lease = SenderLease(
            database: rig.dispatch, duration: .seconds(60), instance: "one", logger: Logger(label: "test"), lost: lost)
        try await lease.beat()
        let first = try #require(await lease.current)
        try await lease.beat()
        #expect(await lease.current == first)
        _ = try await rig.owner.query("UPDATE sender_lease SET lease_until = clock_timestamp() - interval '1 ms'")
        try await lease.beat()
        #expect(await lease.current != first)
        #expect(lost.value == 1)
        await lease.end()
        #expect(await lease.current == nil)
        await rig.close()
    }

    @Test func `recipients with a decision or an attempt are not worked on again`() async throws {
        let rig = try await DispatchRig.make("recipients")
        let blast = try await rig.blast(["a", "b", "c", "d"])
        let queue = ChunkQueue(database: rig.dispatch)
        let chunk = try #require(try await queue.take(rig.lease, onlyEmergency: false))
        _ = try await rig.verdicts([rig.entry(2, "b")], blast)
        _ = try await rig.owner.query(
            """
            INSERT INTO decision (blast_id, recipient_no, district_id, chunk_no, fact, rule, detail)
            VALUES ($1, 3, 7, 1, 9, 'opt-out', 'opted out')
            """, [.uuid(blast)])
        #expect(try await queue.recipients(of: chunk, from: 1, limit: 10).map(\.number) == [1, 4])
        #expect(try await queue.recipients(of: chunk, from: 2, limit: 10).map(\.number) == [4])
        await rig.close()
    }
}
