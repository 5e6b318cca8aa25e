/// The attributes of CloudEvents 1.0 that every record carries as headers (Kafka binding, binary content mode).
public struct CloudEventAttributes: Sendable, Hashable {
    /// Unique per source. Deterministic wherever the event is derived from a stored row, so that re-publishing the
    /// row repeats the event instead of making a new one.
    public let id: String
    /// The service that stated it, as `/rollcall/<service>`.
    public let source: String
    /// `rollcall.<thing>.<what happened>.v1`.
    public let type: String
    /// When it happened, in microseconds since 1970-01-01T00:00:00Z.
    public let timeMicroseconds: Int64
    /// The delivery, blast or address concerned; the record's key says the same.
    public let subject: String

    public init(id: String, source: String, type: String, timeMicroseconds: Int64, subject: String) {
        self.id = id
        self.source = source
        self.type = type
        self.timeMicroseconds = timeMicroseconds
        self.subject = subject
    }

    /// The headers, in a fixed order.
    public var headers: [(name: String, value: String)] {
        [
            ("ce_specversion", "1.0"), ("ce_id", id), ("ce_source", source), ("ce_type", type),
            ("ce_time", Timestamp.string(microseconds: timeMicroseconds)), ("ce_subject", subject),
            ("content-type", "application/json"),
        ]
    }

    static let specVersion = Array("1.0".utf8)
    static let contentType = Array("application/json".utf8)

    /// Reads the headers back.
    /// - Throws: `ContractError` that names the missing or malformed attribute.
    public init(header: (String) -> String?) throws(ContractError) {
        func required(_ name: String) throws(ContractError) -> String {
            guard let value = header(name), !value.isEmpty else { throw ContractError("missing header \(name)") }
            // PostgreSQL stores no NUL, so a record with one could neither be kept nor parked with its reason.
            guard !value.utf8.contains(0) else { throw ContractError("header \(name) contains a NUL") }
            return value
        }
        guard try required("ce_specversion") == "1.0" else { throw ContractError("ce_specversion is not 1.0") }
        id = try required("ce_id")
        guard id.utf8.count <= 200 else { throw ContractError("ce_id is longer than 200 octets") }
        source = try required("ce_source")
        type = try required("ce_type")
        subject = try required("ce_subject")
        let time = try required("ce_time")
        guard let microseconds = Timestamp.microseconds(time) else {
            throw ContractError("ce_time is not an RFC 3339 time: \(time.prefix(40))")
        }
        timeMicroseconds = microseconds
    }
}

/// A record that does not keep the contract. The reason may quote a few characters of it: whoever logs or shows it
/// treats it as what it is, a stranger's text, which can be an address.
public struct ContractError: Error, Sendable, CustomStringConvertible {
    public let reason: String
    public init(_ reason: String) { self.reason = reason }
    public var description: String { reason }
}
