import Delivery
import HTTPTypes
import NIOCore
import Postgres
import Runtime
import Signing

/// A list that arrives in numbered parts, for connections that do not last: each part is stored once, whatever is
/// repeated, and the parts are read as one list when the client says that they are all there.
///
/// Parts are octets cut anywhere, of the plain or the gzip file. They survive restarts, are kept until the blast is sent
/// or deleted, so that a commit may be repeated, and are forgotten a week after they came.
struct ListParts: Sendable {
    static let partOctets = 8 * 1024 * 1024
    static let countMax = 10_000

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    struct Part: Encodable, Sendable {
        let part: Int64
        let octets: Int64
        /// Lower-case hexadecimal.
        let sha256: String
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    struct Listing: Encodable, Sendable {
        let blast_id: String
        let octets: Int64
        let parts: [Part]
    }

    let blast: BlastID
    let caller: Caller
    let limits: ListLimits
    let pool: PostgresPool

    /// Stores a part; the same part again changes nothing.
    /// - Throws: `Problem` 409 when another content stands under the number, 413 when the list grows too large.
    func put(_ number: Int32, _ content: [UInt8]) async throws -> Part {
        let digest = SHA256Digest.of(content)
        try await pool.withDistrict(caller.district) { connection in
            let document = try await BlastStore.lock(blast, on: connection)
            guard document.state == "draft" else { throw IntakeProblems.notADraft(document) }
            _ = try await connection.query(Self.forget)
            let inserted = try await connection.query(
                Self.insert,
                [.uuid(blast), .int4(number), .int(caller.district), .bytes(digest), .bytes(content)])
            guard inserted.affectedRows == 0 else {
                let rows = try await connection.query(Self.size, [.uuid(blast)])
                guard try rows[0].int("octets") <= Int64(limits.octets) else {
                    throw IntakeProblems.tooLarge(octets: limits.octets)
                }
                return
            }
            let kept = try await connection.query(Self.digest, [.uuid(blast), .int4(number)])
            guard try kept.first?.bytes("sha256") == digest else {
                throw IntakeProblems.conflict(
                    "part-differs", "The part was stored before and differs",
                    "Part \(number) has other octets. To begin again, DELETE /v1/blasts/\(blast)/recipients/parts.")
            }
        }
        return Part(part: Int64(number), octets: Int64(content.count), sha256: Hexadecimal.string(digest))
    }

    func listing() async throws -> Listing {
        try await pool.withDistrict(caller.district) { connection in
            _ = try await BlastStore.read(blast, on: connection)
            let parts = try await connection.query(Self.list, [.uuid(blast)]).map { row in
                Part(
                    part: try row.int("part_no"), octets: try row.int("octets"),
                    sha256: Hexadecimal.string(try row.bytes("sha256")))
            }
            return Listing(
                blast_id: blast.description, octets: parts.reduce(0) { $0 + $1.octets }, parts: parts)
        }
    }

    func discard() async throws {
        try await pool.withDistrict(caller.district) { connection in
            _ = try await BlastStore.read(blast, on: connection)
            _ = try await connection.query("DELETE FROM list_part WHERE blast_id = $1", [.uuid(blast)])
        }
    }

    /// The parts 1 to `count` as one body, read one at a time.
    /// - Throws: `Problem` 409 when some are missing, or there are more.
    func body(count: Int64) async throws -> StoredParts {
        let listing = try await listing()
        let missing = Set(1...max(1, count)).subtracting(listing.parts.map(\.part)).sorted()
        guard missing.isEmpty else {
            throw Problem(
                "parts-missing", title: "Parts are missing", status: .conflict,
                detail: "Of \(count) parts, \(missing.count) have not arrived; the first is part \(missing[0]).",
                members: ["part": .number(Int(missing[0]))])
        }
        guard listing.parts.count == Int(count) else {
            throw IntakeProblems.conflict(
                "parts-left-over", "There are more parts",
                "\(listing.parts.count) parts have arrived, not \(count). Say the whole number, or begin again with DELETE."
            )
        }
        return StoredParts(parts: self, count: Int32(count))
    }

    fileprivate func content(_ number: Int32) async throws -> [UInt8] {
        try await pool.withDistrict(caller.district) { connection in
            let rows = try await connection.query(
                "SELECT content FROM list_part WHERE blast_id = $1 AND part_no = $2", [.uuid(blast), .int4(number)])
            guard let row = rows.first else {
                throw IntakeProblems.conflict(
                    "parts-missing", "Parts are missing", "Part \(number) was deleted while the list was being read.")
            }
            return try row.bytes("content")
        }
    }

    private static let forget = "DELETE FROM list_part WHERE received_at < clock_timestamp() - interval '7 days'"
    private static let insert = """
        INSERT INTO list_part (blast_id, part_no, district_id, sha256, content) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT DO NOTHING
        """
    private static let digest = "SELECT sha256 FROM list_part WHERE blast_id = $1 AND part_no = $2"
    private static let size =
        "SELECT coalesce(sum(length(content)), 0)::bigint AS octets FROM list_part WHERE blast_id = $1"
    private static let list = """
        SELECT part_no, length(content) AS octets, sha256 FROM list_part WHERE blast_id = $1 ORDER BY part_no
        """
}

/// The octets of stored parts in their order.
struct StoredParts: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    let parts: ListParts
    let count: Int32

    struct Iterator: AsyncIteratorProtocol {
        let parts: ListParts
        let count: Int32
        var next: Int32 = 1

        mutating func next() async throws -> ByteBuffer? {
            guard next <= count else { return nil }
            defer { next += 1 }
            return ByteBuffer(bytes: try await parts.content(next))
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(parts: parts, count: count) }
}
