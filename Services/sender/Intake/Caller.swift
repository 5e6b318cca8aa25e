import HTTPTypes
import Hummingbird
import Postgres
import Runtime
import Signing

/// Who makes a request: a district, by one of its API keys.
struct Caller: Sendable {
    enum Scope: String {
        case send, read, admin
    }

    let district: Int64
    let keyID: String
    /// The key's label, for the record of who made what.
    let label: String

    /// The caller that the request's key proves.
    /// - Throws: `Problem` 401 without a valid key, 403 when the key has none of `scopes`.
    static func authenticate(_ request: Request, anyOf scopes: [Scope], pool: PostgresPool) async throws -> Caller {
        guard let header = request.headers[.authorization], let key = presentedKey(header) else {
            throw IntakeProblems.unauthorized
        }
        let rows = try await pool.query("SELECT * FROM find_api_key($1)", [.text(key.id)])
        // Compared even when there is no such key, so that both answers take the same work.
        let stored = try rows.first?.bytes("secret_sha256") ?? [UInt8](repeating: 0, count: 32)
        guard key.matches(secretSHA256: stored), let row = rows.first else { throw IntakeProblems.unauthorized }
        let granted = try row.textArray("scopes")
        guard scopes.contains(where: { granted.contains($0.rawValue) }) else {
            throw IntakeProblems.forbidden(needed: scopes.map(\.rawValue).joined(separator: " or "))
        }
        return Caller(district: try row.int("district_id"), keyID: key.id, label: try row.string("label"))
    }

    private static func presentedKey(_ header: String) -> APIKey? {
        let parts = header.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
        return APIKey(String(parts[1]))
    }
}

extension PostgresPool {
    /// A transaction that sees one district.
    ///
    /// - Throws: `Problem` 503 when the connection ended during COMMIT, because the client has to ask again whether its
    ///   request took effect.
    func withDistrict<R: Sendable>(
        _ district: Int64, _ body: (PostgresConnection) async throws -> R
    ) async throws -> R {
        do {
            return try await withTransaction { connection in
                _ = try await connection.query(
                    "SELECT set_config('rollcall.district', $1, true)", [.text(String(district))])
                return try await body(connection)
            }
        } catch let error as PostgresError where error.code == .ambiguousCommit {
            throw Problem.unavailable(
                detail:
                    "The connection to the database ended while the request was being stored. Read the blast again, "
                    + "or repeat the request.")
        }
    }
}
