import Delivery
import Hummingbird
import Inflate
import Logging
import NIOCore
import Postgres
import Runtime
import Signing

/// Takes in the list of a draft: octets as they arrive, by COPY to where recipients are kept, in one transaction that ends
/// with the statuses. Others see the earlier list until then, and whatever goes wrong, it stays.
///
/// The blast itself is not locked while a slow client sends. Its list is: a second upload waits for the end of the first
/// for some seconds, and is refused then.
struct RecipientUpload: Sendable {
    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    /// A recipient that no message can reach.
    struct RowFault: Encodable, Sendable {
        let line: Int
        let recipient_no: Int
        let status: String
        let address: String
        let reason: String
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    /// The answer to an upload.
    struct Result: Encodable, Sendable {
        let blast_id: String
        let audience: Int
        let invalid: Int
        let no_address: Int
        let duplicates: Int64
        /// Telephone numbers on the list of a blast that goes by e-mail only: nothing is done with them.
        let phones_ignored: Int
        let fields: [String]
        /// The first hundred.
        var faults: [RowFault]
    }

    let blast: BlastID
    let format: ListFormat
    let isGzip: Bool
    let caller: Caller
    let limits: IntakeLimits
    let pool: PostgresPool
    let logger: Logger

    /// - Parameter contentLength: what the request announced; fewer octets mean that the client went away.
    func run(_ body: some AsyncSequence<ByteBuffer, any Error>, contentLength: Int?) async throws -> Result {
        if let contentLength, contentLength > limits.list.octets {
            throw IntakeProblems.tooLarge(octets: limits.list.octets)
        }
        let result = try await pool.withDistrict(caller.district) { connection in
            try await connection.limitStatements(to: limits.uploadDeadline)
            _ = try Self.draft(try await BlastStore.read(blast, on: connection))
            try await BlastStore.keepList(of: blast, on: connection)
            let document = try Self.draft(try await BlastStore.read(blast, on: connection))
            var intake = ListIntake(
                format: format, tags: try document.tags(), hasher: try await hasher(on: connection),
                limits: limits.list,
                channels: Set(document.channels.compactMap(RecipientChannel.init(rawValue:))),
                rows: CopyEncoder.Row(blast: blast, district: caller.district))
            try await receive(body, contentLength, &intake, connection)
            let result = intake.result(blast, duplicates: try await duplicates(on: connection))
            _ = try Self.draft(try await BlastStore.lock(blast, on: connection))
            try await finish(result, on: connection)
            return result
        }
        await analyze(rows: result.audience)
        return result
    }

    private func receive(
        _ body: some AsyncSequence<ByteBuffer, any Error>, _ contentLength: Int?, _ intake: inout ListIntake,
        _ connection: PostgresConnection
    ) async throws {
        var received = 0
        var copy = RecipientCopy(blast: blast, connection: connection)
        let inflater = isGzip ? try InflateHandle(limit: limits.list.octets) : nil
        do {
            for try await buffer in body {
                received += buffer.readableBytes
                guard received <= limits.list.octets else { throw IntakeProblems.tooLarge(octets: limits.list.octets) }
                guard let inflater else {
                    try await take(Array(buffer.readableBytesView), &intake, &copy)
                    continue
                }
                inflater.feed(Array(buffer.readableBytesView))
                while let piece = try inflater.next() { try await take(piece, &intake, &copy) }
            }
            try Task.checkCancellation()
            if let contentLength, received != contentLength {
                throw Problem(
                    "incomplete", title: "The list did not arrive whole", status: .badRequest,
                    detail: "\(received) of \(contentLength) octets arrived. The earlier list, if any, stays.")
            }
            try inflater?.finish()
            try intake.finish()
            try await copy.write(intake.written())
            try await connection.copyEnd()
        } catch let fault as ListFault {
            throw IntakeProblems.list(fault)
        } catch let fault as InflateFault {
            throw IntakeProblems.gzip(fault, octets: limits.list.octets)
        }
    }

    private func take(
        _ octets: [UInt8], _ intake: inout ListIntake, _ copy: inout RecipientCopy
    ) async throws {
        try intake.take(octets)
        if intake.hasMuch { try await copy.write(intake.written()) }
    }

    private func hasher(on connection: PostgresConnection) async throws -> AddressHasher {
        let rows = try await connection.query("SELECT address_key FROM district")
        guard let row = rows.first else { throw IntakeProblems.noSuchBlast }
        return AddressHasher(districtKey: try row.bytes("address_key"))
    }

    private static func draft(_ document: BlastResource) throws -> BlastResource {
        guard document.state == "draft" else {
            throw IntakeProblems.notADraft(document)
        }
        return document
    }

    private func duplicates(on connection: PostgresConnection) async throws -> Int64 {
        let rows = try await connection.query(
            "SELECT count(address_hash) - count(DISTINCT address_hash) AS duplicates FROM recipient WHERE blast_id = $1",
            [.uuid(blast)])
        return try rows.first?.int("duplicates") ?? 0
    }

    private func finish(_ result: Result, on connection: PostgresConnection) async throws {
        try await BlastStore.deleteStatuses(of: blast, on: connection)
        try await FirstStatuses.insert(
            blast, of: caller.district, audience: Int64(result.audience), on: connection)
        _ = try await connection.query(
            "UPDATE blast SET audience = $2, fields = $3 WHERE blast_id = $1",
            [.uuid(blast), .int(Int64(result.audience)), .textArray(result.fields)])
    }

    /// Plans of the statements that follow depend on it; the upload itself does not.
    private func analyze(rows: Int) async {
        do {
            _ = try await pool.query(
                "SELECT analyze_blast_tables($1, $2)", [.uuid(blast), .int(Int64(rows))])
        } catch {
            logger.warning(
                "recipient tables were not analyzed",
                metadata: ["blast": "\(blast)", "cause": "\((error as? PostgresError)?.description ?? "unknown")"])
        }
    }
}

/// The rows of a list on their way into the partition of the blast's day, in place of those of the earlier list.
///
/// COPY cannot write where row-level security holds; a constraint of the partition keeps the rows in the district.
private struct RecipientCopy {
    let blast: BlastID
    let connection: PostgresConnection
    private var hasBegun = false

    init(blast: BlastID, connection: PostgresConnection) {
        self.blast = blast
        self.connection = connection
    }

    /// Nothing is touched before the first rows are here: a file that is no list is found out by then.
    mutating func write(_ rows: [UInt8]) async throws {
        if !hasBegun { try await begin() }
        try await connection.copyWrite(rows)
    }

    private mutating func begin() async throws {
        let found = try await connection.query(
            "SELECT daily_partition('recipient', $1)::text AS partition", [.uuid(blast)])
        guard let partition = try found.first?.optionalString("partition") else {
            throw Problem.unavailable(
                detail: "There is no room for lists of the day on which this draft was made; a report API makes it, or "
                    + "the command rollcall migrate.", retryAfterSeconds: 600)
        }
        _ = try await connection.query("DELETE FROM recipient WHERE blast_id = $1", [.uuid(blast)])
        try await connection.copyBegin(
            "COPY \(partition) (\(CopyEncoder.Row.columns.joined(separator: ", "))) FROM STDIN (FORMAT binary)")
        hasBegun = true
    }
}
