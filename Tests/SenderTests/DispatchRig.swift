import Delivery
import Postgres
import Runtime
import Signing
import TestKit

@testable import sender

/// A migrated database with one district, a fresh guard and a live lease.
struct DispatchRig {
    let database: TestDatabase
    let owner: PostgresPool
    let dispatch: PostgresPool
    let lease: LeaseToken
    let district: Int64 = 7

    static let content = SHA256Digest.of(Array("content".utf8))

    /// - Parameter stack: the shared one unless stated.
    static func make(_ name: String, on stack: LocalStack? = nil) async throws -> DispatchRig {
        let home = if let stack { stack } else { try await LocalStack.shared() }
        let database = try await home.database("dispatch_\(name)")
        let owner = PostgresPool(database.owner, size: 4)
        _ = try await owner.query("INSERT INTO district (district_id, name) VALUES (7, 'Seven'), (8, 'Eight')")
        _ = try await owner.query(
            """
            INSERT INTO guard_progress (part, cluster_id, next_offset, caught_up_at)
            SELECT p, 'c', 0, clock_timestamp() + interval '1 hour' FROM generate_series(0, 3) p
            """)
        let token = try await owner.query(
            """
            INSERT INTO sender_lease (instance, lease_until) VALUES ('test', clock_timestamp() + interval '1 hour')
            RETURNING token
            """)[0].uuid("token")
        return DispatchRig(
            database: database, owner: owner, dispatch: PostgresPool(database.role("rollcall_dispatch"), size: 12),
            lease: LeaseToken(high: token.high, low: token.low))
    }

    func close() async {
        await dispatch.close()
        await owner.close()
    }

    static func hash(_ address: String) -> [UInt8] { SHA256Digest.of(Array(address.utf8)) }

    /// A blast that is being sent, with its recipients in one cleared chunk.
    func blast(
        _ addresses: [String], district: Int64 = 7, isEmergency: Bool = false, policy: String = "at_most_once"
    ) async throws -> BlastID {
        let blast = try await owner.query(
            """
            INSERT INTO blast (blast_id, district_id, class, subject, text_template, from_address, in_doubt_policy, state,
                               created_by, send_requested_at, audience)
            VALUES (mint_blast_id(), $1, $2, 'Hello', 'Hello {{name}}', 'office@school.example', $3, 'sending', 'test',
                    clock_timestamp(), $4)
            RETURNING blast_id
            """,
            [
                .int(district), .text(isEmergency ? "emergency" : "general"), .text(policy),
                .int4(Int32(addresses.count)),
            ])[0].blastID("blast_id")
        _ = try await owner.query(
            """
            INSERT INTO recipient (blast_id, recipient_no, district_id, line_no, address, address_hash)
            SELECT $1, o, $2, o, a, h FROM unnest($3::text[], $4::bytea[]) WITH ORDINALITY AS u(a, h, o)
            """,
            [.uuid(blast), .int(district), .textArray(addresses), .byteaArray(addresses.map { Self.hash($0) })])
        _ = try await owner.query(
            """
            INSERT INTO chunk (blast_id, chunk_no, district_id, class, first_no, last_no, state)
            VALUES ($1, 1, $2, $3, 1, $4, 'cleared')
            """,
            [
                .uuid(blast), .int(district), .text(isEmergency ? "emergency" : "general"),
                .int4(Int32(addresses.count)),
            ])
        _ = try await owner.query(
            """
            INSERT INTO delivery_status (blast_id, recipient_no, district_id)
            SELECT blast_id, recipient_no, district_id FROM recipient WHERE blast_id = $1
            """, [.uuid(blast)])
        return blast
    }

    func entry(
        _ number: Int32, _ address: String, attempt: Int32 = 1, content: [UInt8] = Self.content,
        isResend: Bool = false, fault: CompositionFault? = nil
    ) -> WireEntry {
        WireEntry(
            recipientNumber: number, attempt: attempt, chunk: 1, addressHash: Self.hash(address), contentHash: content,
            isResend: isResend, fault: fault)
    }

    func wire(
        _ entries: [WireEntry], _ blast: BlastID, _ token: LeaseToken? = nil
    ) async throws -> WireResult {
        try await Wire(database: dispatch, leaseMargin: .seconds(1), guardFreshness: .seconds(10))
            .write(entries, of: blast, token ?? lease)
    }

    /// The verdicts in the order of recipients.
    func verdicts(_ entries: [WireEntry], _ blast: BlastID) async throws -> [WireVerdict] {
        guard case .decided(let verdicts) = try await wire(entries, blast) else {
            throw TestKitError("WIRE decided nothing")
        }
        return verdicts.sorted { $0.recipientNumber < $1.recipientNumber }
    }

    func settle(
        _ blast: BlastID, _ number: Int32, attempt: Int32 = 1, _ outcome: SettledOutcome, under token: LeaseToken? = nil
    ) async throws {
        let settlement = outcome.settlement(DeliveryID(blast: blast, recipientNumber: number), attempt, token ?? lease)
        try await OutcomeStatement(batch: [settlement]).write(dispatch)
    }

    /// The token of another sender, which is alive.
    func otherLease() async throws -> LeaseToken {
        let token = try await owner.query(
            """
            INSERT INTO sender_lease (instance, lease_until) VALUES ('other', clock_timestamp() + interval '1 hour')
            RETURNING token
            """)[0].uuid("token")
        return LeaseToken(high: token.high, low: token.low)
    }

    func change(_ sql: String, _ blast: BlastID) async throws {
        _ = try await owner.query(sql, [.uuid(blast)])
    }

    func attempts(_ blast: BlastID) async throws -> [String] {
        try await owner.query(
            """
            SELECT recipient_no || '/' || attempt_no || ' ' || state || coalesce(' ' || fact, '')
                   || CASE WHEN next_at IS NULL THEN '' ELSE ' due' END AS line
              FROM attempt WHERE blast_id = $1 ORDER BY recipient_no, attempt_no
            """, [.uuid(blast)]
        ).map { try $0.string("line") }
    }

    enum Claim {
        case reserved, handedOver
    }

    /// As another WIRE would read it; nil when the content is free.
    func claim(_ address: String, content: [UInt8] = Self.content) async throws -> Claim? {
        try await dispatch.query(
            """
            SELECT handed_over_at(blast_id, recipient_no, at) IS NULL AS reserved FROM content_claim
             WHERE address_hash = $1 AND content_hash = $2
            """, [.bytes(Self.hash(address)), .bytes(content)]
        ).first.map { try $0.bool("reserved") ? .reserved : .handedOver }
    }

    /// Everything that was accepted was so `age` ago, and on the wire for a second before.
    func handOvers(were age: String) async throws {
        for change in [
            "UPDATE content_claim SET at = clock_timestamp() - $1::text::interval - interval '1 second'",
            "UPDATE attempt SET settled_at = clock_timestamp() - $1::text::interval WHERE state = 'accepted'",
        ] { _ = try await owner.query(change, [.text(age)]) }
    }

    /// Whether all that was accepted was so within the window.
    func handOversAreInside() async throws -> Bool {
        try await owner.query(
            """
            SELECT bool_and(settled_at > clock_timestamp() - interval '4 hours') AS inside FROM attempt
             WHERE state = 'accepted'
            """)[0].bool("inside")
    }
}
