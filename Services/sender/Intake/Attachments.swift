import Contracts
import Delivery
import HTTPTypes
import Hummingbird
import Mail
import Postgres
import Runtime
import Signing

/// Files that go with every message of a draft: stored once, by name.
struct Attachments: Sendable {
    static let countMax = 10
    /// Of all together: what they add to every single message.
    static let octetsMax = 5 * 1024 * 1024

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    struct File: Encodable, Sendable {
        let name: String
        let type: String
        let octets: Int64
        let sha256: String
    }

    let blast: BlastID
    let caller: Caller
    let pool: PostgresPool

    /// Adds a file or replaces the one of that name.
    func put(_ name: String, type: String, _ content: [UInt8]) async throws -> File {
        if let fault = MIMEAttachment.fault(inName: name) { throw Self.unusable("name", fault) }
        if let fault = MIMEAttachment.fault(inType: type) { throw Self.unusable("type", fault) }
        guard !content.isEmpty else { throw Self.unusable("content", "The file is empty.") }
        let digest = SHA256Digest.of(content)
        try await pool.withDistrict(caller.district) { connection in
            try await requireDraft(connection)
            _ = try await connection.query(Self.remove, [.uuid(blast), .text(name)])
            _ = try await connection.query(
                Self.insert,
                [.uuid(blast), .text(name), .int(caller.district), .text(type), .bytes(digest), .bytes(content)])
            guard let row = try await connection.query(Self.size, [.uuid(blast)]).first,
                try row.int("files") <= Int64(Self.countMax), try row.int("octets") <= Int64(Self.octetsMax)
            else {
                throw Problem(
                    "too-large", title: "Content too large", status: .contentTooLarge,
                    detail:
                        "A blast has at most \(Self.countMax) attachments of \(Self.octetsMax) octets together; put "
                        + "larger files on a web page and link to them.", members: ["limit": .number(Self.octetsMax)])
            }
        }
        return File(name: name, type: type, octets: Int64(content.count), sha256: Hexadecimal.string(digest))
    }

    func list() async throws -> [File] {
        try await pool.withDistrict(caller.district) { connection in
            _ = try await BlastStore.read(blast, on: connection)
            return try await connection.query(Self.files, [.uuid(blast)]).map { row in
                File(
                    name: try row.string("name"), type: try row.string("media_type"), octets: try row.int("octets"),
                    sha256: Hexadecimal.string(try row.bytes("sha256")))
            }
        }
    }

    func remove(_ name: String) async throws {
        try await pool.withDistrict(caller.district) { connection in
            try await requireDraft(connection)
            _ = try await connection.query(Self.remove, [.uuid(blast), .text(name)])
        }
    }

    private func requireDraft(_ connection: PostgresConnection) async throws {
        let document = try await BlastStore.lock(blast, on: connection)
        guard document.state == "draft" else {
            throw IntakeProblems.conflict(
                "not-a-draft", "The blast is not a draft",
                "The blast is \(document.state); its attachments cannot change any more.")
        }
    }

    private static func unusable(_ field: String, _ reason: String) -> Problem {
        Problem(
            "invalid-attachment", title: "The attachment is not acceptable", status: .unprocessableContent,
            detail: reason, members: ["field": .text(field)])
    }

    private static let insert = """
        INSERT INTO blast_attachment (blast_id, name, district_id, media_type, sha256, content)
        VALUES ($1, $2, $3, $4, $5, $6)
        """
    private static let remove = "DELETE FROM blast_attachment WHERE blast_id = $1 AND name = $2"
    private static let size = """
        SELECT count(*) AS files, coalesce(sum(length(content)), 0)::bigint AS octets
          FROM blast_attachment WHERE blast_id = $1
        """
    private static let files = """
        SELECT name, media_type, length(content) AS octets, sha256 FROM blast_attachment WHERE blast_id = $1 ORDER BY name
        """
}
