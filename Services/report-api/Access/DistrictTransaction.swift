import Delivery
import Postgres

extension PostgresPool {
    /// Reads of one district from one snapshot: numbers and rows of one answer agree with each other.
    func reading<R: Sendable>(
        _ district: DistrictID, _ body: (PostgresConnection) async throws -> R
    ) async throws -> R {
        try await withTransaction { connection in
            _ = try await connection.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try await Self.enter(district, connection)
            return try await body(connection)
        }
    }

    /// A transaction that sees one district.
    func withDistrict<R: Sendable>(
        _ district: DistrictID, _ body: (PostgresConnection) async throws -> R
    ) async throws -> R {
        try await withTransaction { connection in
            try await Self.enter(district, connection)
            return try await body(connection)
        }
    }

    private static func enter(_ district: DistrictID, _ connection: PostgresConnection) async throws {
        _ = try await connection.query(
            "SELECT set_config('rollcall.district', $1, true)", [.text(String(district.number))])
    }
}
