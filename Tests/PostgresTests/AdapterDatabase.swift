import Postgres
import Synchronization
import TestKit

/// An empty database that the tests of the adapter share. Tables live in a session or carry the name of their test.
enum AdapterDatabase {
    static func configuration() async throws -> PostgresConfiguration { try await created.value }

    static func connection(_ name: String = "test") async throws -> PostgresConnection {
        let connection = PostgresConnection(try await configuration(), name: name)
        try await connection.connect()
        return connection
    }

    /// As long as the test runs; the session and its temporary tables end with it.
    static func withConnection(_ body: (PostgresConnection) async throws -> Void) async throws {
        let connection = try await connection()
        do { try await body(connection) } catch {
            await connection.close()
            throw error
        }
        await connection.close()
    }

    private static let created = Task {
        let environment = try await LocalStack.shared().environment
        func value(_ name: String) throws -> String {
            guard let value = environment[name] else { throw TestKitError("the stack's environment lacks \(name)") }
            return value
        }
        var configuration = PostgresConfiguration(
            host: try value("ROLLCALL_POSTGRES_HOST"), port: Int(try value("ROLLCALL_POSTGRES_PORT")) ?? 0,
            database: "postgres", user: try value("ROLLCALL_POSTGRES_ADMIN_USER"),
            password: try value("ROLLCALL_POSTGRES_ADMIN_PASSWORD"), applicationName: "adapter-tests",
            searchPath: "public")
        let database = "adapter_\(UInt64.random(in: 0...UInt64.max))"
        let administrator = PostgresConnection(configuration, name: "test-admin")
        try await administrator.connect()
        try await administrator.execute(script: "CREATE DATABASE \(database)")
        await administrator.close()
        configuration.database = database
        return configuration
    }
}

/// The `PostgresError` that `body` throws.
func failure(_ body: () async throws -> Void) async throws -> PostgresError {
    do { try await body() } catch let error as PostgresError { return error }
    throw TestKitError("nothing was thrown")
}

/// What concurrent parts of one test note down together.
final class Notes<Value: Sendable>: Sendable {
    private let content: Mutex<Value>

    init(_ value: Value) { content = Mutex(value) }

    var value: Value { content.withLock { $0 } }
    func update(_ change: @Sendable (inout Value) -> Void) { content.withLock { change(&$0) } }
}
