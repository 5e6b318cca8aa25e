import Delivery
import Hummingbird
import Inflate
import Logging
import NIOCore
import Postgres
import Runtime
import Signing

/// Takes in the list of a draft: octets as they arrive, into a temporary table, and then into its place in the same
/// transaction. Whatever goes wrong, the earlier list stays.
///
/// Row-level security forbids COPY into the recipients themselves, and the temporary table keeps the blast unlocked while
/// a slow client sends.
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
            let document = try Self.draft(try await BlastStore.read(blast, on: connection))
            var intake = ListIntake(
                format: format, tags: try document.tags(), hasher: try await hasher(on: connection),
                limits: limits.list,
                channels: Set(document.channels.compactMap(RecipientChannel.init(rawValue:))))
            _ = try await connection.query(Self.temporaryTable)
            try await connection.copyBegin(Self.copy)
            try await receive(body, contentLength, &intake, connection)
            let result = intake.result(blast, duplicates: try await duplicates(on: connection))
            _ = try Self.draft(try await BlastStore.lock(blast, on: connection))
            try await replace(with: result, on: connection)
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
        let inflater = isGzip ? try InflateHandle(limit: limits.list.octets) : nil
        do {
            for try await buffer in body {
                received += buffer.readableBytes
                guard received <= limits.list.octets else { throw IntakeProblems.tooLarge(octets: limits.list.octets) }
                guard let inflater else {
                    try await take(Array(buffer.readableBytesView), &intake, connection)
                    continue
                }
                inflater.feed(Array(buffer.readableBytesView))
                while let piece = try inflater.next() { try await take(piece, &intake, connection) }
            }
            try Task.checkCancellation()
            if let contentLength, received != contentLength {
                throw Problem(
                    "incomplete", title: "The list did not arrive whole", status: .badRequest,
                    detail: "\(received) of \(contentLength) octets arrived. The earlier list, if any, stays.")
            }
            try inflater?.finish()
            try intake.finish()
            try await connection.copyWrite(intake.written())
            try await connection.copyEnd()
        } catch let fault as ListFault {
            throw IntakeProblems.list(fault)
        } catch let fault as InflateFault {
            throw IntakeProblems.gzip(fault, octets: limits.list.octets)
        }
    }

    private func take(
        _ octets: [UInt8], _ intake: inout ListIntake, _ connection: PostgresConnection
    ) async throws {
        try intake.take(octets)
        if intake.hasMuch { try await connection.copyWrite(intake.written()) }
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
            "SELECT count(address_hash) - count(DISTINCT address_hash) AS duplicates FROM pg_temp.uploaded_recipient")
        return try rows.first?.int("duplicates") ?? 0
    }

    private func replace(with result: Result, on connection: PostgresConnection) async throws {
        try await BlastStore.deleteList(of: blast, on: connection)
        let key: [PostgresParameter] = [.uuid(blast), .int(caller.district)]
        _ = try await connection.query(Self.recipients, key)
        try await FirstStatuses.insert(
            blast, of: caller.district, from: "pg_temp.uploaded_recipient", audience: Int64(result.audience),
            on: connection)
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

    private static let temporaryTable = """
        CREATE TEMPORARY TABLE uploaded_recipient (
            recipient_no int, line_no int, channel text, address text, address_hash bytea, fault smallint,
            fault_reason text, name text, person_ref text, person_kind text, school text, locale text,
            categories text[], consent_refused text[], fields jsonb
        ) ON COMMIT DROP
        """
    private static let copy = "COPY pg_temp.uploaded_recipient FROM STDIN (FORMAT binary)"
    private static let recipients = """
        INSERT INTO recipient (blast_id, district_id, recipient_no, line_no, channel, address, address_hash, fault,
                               fault_reason, name, person_ref, person_kind, school, locale, categories,
                               consent_refused, fields)
        SELECT $1, $2, recipient_no, line_no, channel, address, address_hash, fault, fault_reason, name, person_ref,
               person_kind, school, locale, categories, consent_refused, fields
          FROM pg_temp.uploaded_recipient
        """
}

/// Reads a list and writes its rows for COPY, counting what staff want to know.
struct ListIntake {
    private var reader: RecipientListReader
    private var encoder = CopyEncoder()
    private var invalid = 0
    private var withoutAddress = 0
    private var recipients = 0
    private var faults: [RecipientUpload.RowFault] = []

    init(
        format: ListFormat, tags: Set<String>, hasher: AddressHasher, limits: ListLimits,
        channels: Set<RecipientChannel>
    ) {
        reader = RecipientListReader(format: format, tags: tags, hasher: hasher, limits: limits, channels: channels)
    }

    /// Enough is written to be worth sending.
    var hasMuch: Bool { encoder.octets.count >= 64 * 1024 }

    mutating func written() -> [UInt8] { encoder.take() }

    mutating func take(_ chunk: [UInt8]) throws(ListFault) {
        var rows: [RecipientRow] = []
        try reader.read(chunk) { rows.append($0) }
        for row in rows { write(row) }
    }

    mutating func finish() throws(ListFault) {
        var rows: [RecipientRow] = []
        try reader.finish { rows.append($0) }
        for row in rows { write(row) }
        encoder.end()
    }

    func result(_ blast: BlastID, duplicates: Int64) -> RecipientUpload.Result {
        RecipientUpload.Result(
            blast_id: blast.description, audience: recipients, invalid: invalid, no_address: withoutAddress,
            duplicates: duplicates, phones_ignored: reader.phonesIgnored, fields: reader.columnNames, faults: faults)
    }

    private mutating func write(_ row: RecipientRow) {
        recipients += 1
        if let fault = row.fault {
            if fault == .noAddress { withoutAddress += 1 } else { invalid += 1 }
            if faults.count < 100 {
                faults.append(
                    RecipientUpload.RowFault(
                        line: row.line, recipient_no: recipients, status: fault.name,
                        address: String(row.address.prefix(200)), reason: row.faultReason ?? ""))
            }
        }
        encoder.beginRow(columns: 15)
        encoder.integer(Int32(recipients))
        encoder.integer(Int32(clamping: row.line))
        encoder.text(row.channel.rawValue)
        encoder.text(row.address)
        encoder.bytes(row.addressHash)
        encoder.integer(row.fault.map { Int16($0.rawValue) })
        encoder.text(row.faultReason)
        encoder.text(row.name)
        encoder.text(row.personRef)
        encoder.text(row.personKind)
        encoder.text(row.school)
        encoder.text(row.locale)
        encoder.textArray(row.categories)
        encoder.textArray(row.consentRefused.isEmpty ? nil : row.consentRefused)
        let names = reader.fields
        encoder.object(row.fields.map { (names[$0.number], $0.value) })
    }
}
