import Delivery

/// Writes rows in PostgreSQL's binary COPY form, which needs no escaping.
struct CopyEncoder {
    private(set) var octets: [UInt8] = []

    private init(octets: [UInt8]) { self.octets = octets }

    /// The signature, no flags, no header extension.
    init() { octets = Array("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0x00] + [UInt8](repeating: 0, count: 8) }

    /// What has been written since the last call.
    mutating func take() -> [UInt8] {
        let taken = octets
        octets.removeAll(keepingCapacity: true)
        return taken
    }

    mutating func end() { append(Int16(-1)) }

    mutating func null() { append(Int32(-1)) }

    mutating func integer<Value: FixedWidthInteger>(_ value: Value?) {
        guard let value else { return null() }
        append(Int32(Value.bitWidth / 8))
        append(value)
    }

    mutating func text(_ value: String?) {
        guard let value else { return null() }
        append(Int32(value.utf8.count))
        octets.append(contentsOf: value.utf8)
    }

    mutating func bytes(_ value: [UInt8]?) {
        guard let value else { return null() }
        append(Int32(value.count))
        octets.append(contentsOf: value)
    }

    mutating func textArray(_ values: [String]?) {
        guard let values else { return null() }
        sized { encoder in
            encoder.append(Int32(values.isEmpty ? 0 : 1))
            encoder.append(Int32(0))
            encoder.append(Self.textType)
            guard !values.isEmpty else { return }
            encoder.append(Int32(values.count))
            encoder.append(Int32(1))
            for value in values { encoder.text(value) }
        }
    }

    /// A JSON object of texts, as `jsonb`.
    mutating func object(_ members: [(name: String, value: String)]) {
        sized { encoder in
            encoder.octets.append(1)
            encoder.octets.append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { encoder.octets.append(UInt8(ascii: ",")) }
                encoder.jsonText(member.name)
                encoder.octets.append(UInt8(ascii: ":"))
                encoder.jsonText(member.value)
            }
            encoder.octets.append(UInt8(ascii: "}"))
        }
    }

    /// `text` has no control characters: lists that have some are refused.
    private mutating func jsonText(_ text: String) {
        octets.append(UInt8(ascii: "\""))
        for octet in text.utf8 {
            if octet == UInt8(ascii: "\"") || octet == UInt8(ascii: "\\") { octets.append(UInt8(ascii: "\\")) }
            octets.append(octet)
        }
        octets.append(UInt8(ascii: "\""))
    }

    /// Writes the length of what `body` writes in front of it.
    private mutating func sized(_ body: (inout CopyEncoder) -> Void) {
        let start = octets.count
        append(Int32(0))
        body(&self)
        let size = UInt32(octets.count - start - 4)
        for index in 0..<4 { octets[start + index] = UInt8(truncatingIfNeeded: size >> UInt32(24 - index * 8)) }
    }

    private mutating func append<Value: FixedWidthInteger>(_ value: Value) {
        var shift = Value.bitWidth
        while shift > 0 {
            shift -= 8
            octets.append(UInt8(truncatingIfNeeded: value >> Value(truncatingIfNeeded: shift)))
        }
    }

    private static let textType = Int32(25)
}

extension CopyEncoder {
    /// How a recipient becomes a row of `recipient`.
    struct Row {
        static let columns = [
            "blast_id", "district_id", "recipient_no", "line_no", "channel", "address", "address_hash", "fault",
            "fault_reason", "name", "person_ref", "person_kind", "school", "locale", "categories", "consent_refused",
            "fields",
        ]

        /// What all rows of a list begin with: the number of columns, the blast, the district.
        private let head: [UInt8]

        init(blast: BlastID, district: Int64) {
            var head = CopyEncoder(octets: [])
            head.append(Int16(Self.columns.count))
            head.append(Int32(16))
            head.append(blast.high)
            head.append(blast.low)
            head.integer(district)
            self.head = head.octets
        }

        func write(_ row: RecipientRow, number: Int32, fieldNames: [String], to encoder: inout CopyEncoder) {
            encoder.octets.append(contentsOf: head)
            encoder.integer(number)
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
            encoder.object(row.fields.map { (fieldNames[$0.number], $0.value) })
        }
    }
}
