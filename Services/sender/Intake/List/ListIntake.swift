import Delivery
import Signing

/// Reads a list and writes its rows for COPY, counting what staff want to know.
struct ListIntake {
    private var reader: RecipientListReader
    private let rows: CopyEncoder.Row
    private var encoder = CopyEncoder()
    private var invalid = 0
    private var withoutAddress = 0
    private var recipients = 0
    private var faults: [RecipientUpload.RowFault] = []

    init(
        format: ListFormat, tags: Set<String>, hasher: AddressHasher, limits: ListLimits,
        channels: Set<RecipientChannel>, rows: CopyEncoder.Row
    ) {
        self.rows = rows
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
        rows.write(row, number: Int32(recipients), fieldNames: reader.fields, to: &encoder)
    }
}
