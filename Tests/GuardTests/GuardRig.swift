import Contracts
import Delivery
import Mail
import Postgres
import Signing
import TestKit

@testable import blacklist_guard

/// One migrated database for all tests of the guard's tables; every test has a district of its own. The guard's parts
/// run under the guard's own role, so its grants are tested as well.
struct GuardRig: Sendable {
    static let shared = Task { try await GuardRig() }

    struct Listed: Sendable {
        var address: String?
        var categories: [String]?
        var fault: Int32?

        static func usable(_ address: String, for categories: [String]? = nil) -> Listed {
            Listed(address: address, categories: categories)
        }
        static let without = Listed(fault: 6)
        static let malformed = Listed(address: "no at", fault: 14)
    }

    let owner: PostgresPool
    let roleConfiguration: PostgresConfiguration
    let role: PostgresPool
    let screen: ChunkScreen
    let ledger: BlacklistLedger
    let commands: CommandLedger

    private init() async throws {
        let database = try await LocalStack.shared().database("guard")
        owner = PostgresPool(database.owner, size: 4)
        roleConfiguration = database.role("rollcall_guard")
        role = PostgresPool(roleConfiguration, size: 6)
        screen = ChunkScreen(pool: role)
        ledger = BlacklistLedger(pool: role, rule: SoftBounceRule(deliveries: 3, window: .seconds(90 * 86_400)))
        commands = CommandLedger(pool: role)
    }

    func district() async throws -> District {
        let row = try await owner.query(
            """
            INSERT INTO district (district_id, name)
            SELECT coalesce(max(district_id), 0) + 1 + floor(random() * 1e9)::bigint, 'Testville' FROM district
            RETURNING district_id, address_key
            """)[0]
        return District(
            rig: self, id: DistrictID(try row.int("district_id")),
            hasher: AddressHasher(districtKey: try row.bytes("address_key")))
    }
}

/// A district of one test, and what it does.
struct District: Sendable {
    struct Entry: Equatable {
        let reason: String
        let isActive: Bool
        let causes: Int64
    }

    let rig: GuardRig
    let id: DistrictID
    let hasher: AddressHasher

    func hash(_ address: String) throws -> [UInt8] {
        hasher.hash(matchingKey: try EmailAddress(parsing: address).matchingKey)
    }

    /// A blast that is being sent, in chunks of `chunkSize`.
    func blast(
        _ recipients: [GuardRig.Listed], category: String = "general", isEmergency: Bool = false,
        dedupes key: String = "address", chunkSize: Int = 500
    ) async throws -> BlastID {
        let row = try await rig.owner.query(
            """
            INSERT INTO blast (blast_id, district_id, class, category, dedupe_key, subject, text_template,
                               from_address, in_doubt_policy, state, send_requested_at, audience, created_by)
            VALUES (mint_blast_id(), $1, $2, $3, $4, 's', 't', 'school@district.example', 'at_most_once', 'sending',
                    clock_timestamp(), $5, 'test')
            RETURNING blast_id
            """,
            [
                .int(id.number), .text(isEmergency ? "emergency" : "general"), .text(category), .text(key),
                .int(Int64(recipients.count)),
            ])[0]
        let words = try row.uuid("blast_id")
        let blast = BlastID(high: words.high, low: words.low)
        for (index, recipient) in recipients.enumerated() {
            _ = try await rig.owner.query(
                """
                INSERT INTO recipient (blast_id, recipient_no, district_id, line_no, address, address_hash, fault,
                                       fault_reason, categories)
                SELECT $1, $2::int, $3, $2::int + 1, $4, $5, $6::int, CASE WHEN $6::int IS NOT NULL THEN 'why' END,
                       CASE WHEN $7 THEN $8 END
                """,
                [
                    .uuid(words), .int(Int64(index + 1)), .int(id.number), .text(recipient.address ?? ""),
                    .bytes(try recipient.fault == nil ? recipient.address.map(hash) : nil), .int4(recipient.fault),
                    .bool(recipient.categories != nil), .textArray(recipient.categories ?? []),
                ])
        }
        _ = try await rig.owner.query(
            """
            INSERT INTO chunk (blast_id, chunk_no, district_id, class, first_no, last_no)
            SELECT $1, row_number() OVER (ORDER BY n), $2, $3, n, least(n + $4 - 1, $5)
              FROM generate_series(1, $5::int, $4::int) n
            """,
            [
                .uuid(words), .int(id.number), .text(isEmergency ? "emergency" : "general"), .int4(Int32(chunkSize)),
                .int4(Int32(recipients.count)),
            ])
        return blast
    }

    @discardableResult
    func screen(_ blast: BlastID, chunk: Int32 = 1) async throws -> ChunkScreen.Outcome {
        try await rig.screen.screen(ChunkKey(blast: blast, number: chunk))
    }

    /// What was decided, by recipient.
    func decisions(_ blast: BlastID) async throws -> [Int32: DeliveryFact] {
        var decisions: [Int32: DeliveryFact] = [:]
        for row in try await rig.owner.query(
            "SELECT recipient_no, fact FROM decision WHERE blast_id = $1", [.uuid((blast.high, blast.low))])
        {
            decisions[try row.int32("recipient_no")] = DeliveryFact(rawValue: UInt8(try row.int("fact")))
        }
        return decisions
    }

    /// Tells the guard of an event, some seconds ago.
    @discardableResult
    func report(
        _ fact: DeliveryFact, _ blast: BlastID, _ recipient: Int32 = 1, id: String = "e", secondsAgo: Int64 = 0
    ) async throws -> Int {
        let now = try await rig.owner.query("SELECT clock_timestamp() AS now")[0].timestampMicroseconds("now")
        return try await rig.ledger.learn([
            Lesson(
                delivery: DeliveryID(blast: blast, recipientNumber: recipient), fact: fact, eventID: id,
                occurredAtMicroseconds: now - secondsAgo * 1_000_000)
        ])
    }

    func entry(_ address: String) async throws -> Entry? {
        let rows = try await rig.owner.query(
            "SELECT reason, active, causes FROM blacklist WHERE district_id = $1 AND address_hash = $2",
            [.int(id.number), .bytes(try hash(address))])
        return try rows.first.map {
            Entry(reason: try $0.string("reason"), isActive: try $0.bool("active"), causes: try $0.int("causes"))
        }
    }

    func command(_ kind: Contracts.Command.Kind, _ address: String, id: String? = nil) async throws -> String? {
        var words = SystemRandomNumberGenerator()
        let fresh = BlastID(high: words.next(), low: words.next())
        return try await rig.commands.carryOut(
            Contracts.Command(
                id: id ?? fresh.description, kind: kind, district: self.id,
                target: Hexadecimal.string(try hash(address)), address: address, actor: "staff@district.example",
                reason: "the family called", atMicroseconds: 0))
    }
}
