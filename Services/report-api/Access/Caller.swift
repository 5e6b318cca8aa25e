import Delivery
import HTTPTypes
import Hummingbird
import Postgres
import Runtime
import Signing

/// Who asks: a district, by one of its API keys.
struct Caller: Sendable {
    enum Scope: String, Sendable {
        case read, send, admin
    }

    let district: DistrictID
    let keyID: String
    /// The key's label, for the record of who asked for what.
    let label: String
    let scopes: Set<String>

    func has(_ scope: Scope) -> Bool { scopes.contains(scope.rawValue) }

    /// - Throws: `Problem` 403 when the key has none of `scopes`.
    func require(_ scopes: Scope...) throws(Problem) {
        guard scopes.contains(where: has) else {
            throw ReportProblems.forbidden(needed: scopes.map(\.rawValue).joined(separator: " or "))
        }
    }
}

/// Finds the caller that a key or a session proves. A revoked key is found by neither.
struct KeyRing: Sendable {
    let pool: PostgresPool

    func caller(presenting text: String) async throws -> Caller? {
        guard let key = APIKey(text) else { return nil }
        let row = try await find(key.id)
        // Compared even when there is no such key, so that both answers take the same work.
        let stored = try row?.bytes("secret_sha256") ?? [UInt8](repeating: 0, count: 32)
        guard key.matches(secretSHA256: stored), let row else { return nil }
        return try Self.caller(key.id, row)
    }

    func caller(keyID: String) async throws -> Caller? {
        guard let row = try await find(keyID) else { return nil }
        return try Self.caller(keyID, row)
    }

    /// The caller of an API request.
    /// - Throws: `Problem` 401 without a valid key.
    func caller(of request: Request) async throws -> Caller {
        let parts = (request.headers[.authorization] ?? "").split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer",
            let caller = try await caller(presenting: String(parts[1]))
        else { throw ReportProblems.unauthorized }
        return caller
    }

    private func find(_ keyID: String) async throws -> PostgresRow? {
        try await pool.query("SELECT district_id, secret_sha256, scopes, label FROM find_api_key($1)", [.text(keyID)])
            .first
    }

    private static func caller(_ keyID: String, _ row: PostgresRow) throws -> Caller {
        Caller(
            district: DistrictID(try row.int("district_id")), keyID: keyID, label: try row.string("label"),
            scopes: Set(try row.textArray("scopes").compactMap(\.self)))
    }
}
