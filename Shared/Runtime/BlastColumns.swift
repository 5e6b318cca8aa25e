public import Delivery
public import Postgres

/// Blast ids as `uuid` parameters.
extension PostgresParameter {
    public static func uuid(_ blast: BlastID?) -> PostgresParameter { .uuid(blast.map { ($0.high, $0.low) }) }

    public static func uuidArray(_ blasts: [BlastID]) -> PostgresParameter {
        .uuidArray(blasts.map { ($0.high, $0.low) })
    }
}

/// Blast ids from `uuid` columns.
extension PostgresRow {
    public func blastID(_ name: String) throws(PostgresError) -> BlastID { try self[name].blastID() }

    public func optionalBlastID(_ name: String) throws(PostgresError) -> BlastID? {
        guard let id = try optionalUUID(name) else { return nil }
        return BlastID(high: id.high, low: id.low)
    }
}

extension PostgresCell {
    public func blastID() throws(PostgresError) -> BlastID {
        let id = try uuid()
        return BlastID(high: id.high, low: id.low)
    }
}
