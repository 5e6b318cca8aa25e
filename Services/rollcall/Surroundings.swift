import Foundation
import Kafka
import Postgres
import Runtime

/// The environment variables that the tool shares with the services.
struct Surroundings {
    private let variables: [String: String]

    init(_ variables: [String: String] = ProcessInfo.processInfo.environment) { self.variables = variables }

    func value(_ name: String) -> String? { variables[name].flatMap { $0.isEmpty ? nil : $0 } }

    func required(_ name: String, _ meaning: String) throws -> String {
        guard let value = value(name) else {
            throw Failure("\(name) is not set: \(meaning)", code: Failure.configuration)
        }
        return value
    }

    /// Who uses the tool, as the operating system knows them.
    var actor: String { "\(value("SUDO_USER") ?? NSUserName())@\(ProcessInfo.processInfo.hostName)" }

    /// PostgreSQL as the owner of the schema.
    func postgres(database: String? = nil) throws -> PostgresConfiguration {
        let port = value("ROLLCALL_POSTGRES_PORT") ?? "5432"
        guard let number = Int(port), (1...65535).contains(number) else {
            throw Failure(
                "ROLLCALL_POSTGRES_PORT is \"\(Terminal.plain(port))\", which is no port", code: Failure.configuration)
        }
        return PostgresConfiguration(
            host: value("ROLLCALL_POSTGRES_HOST") ?? "127.0.0.1", port: number,
            database: database ?? value("ROLLCALL_POSTGRES_DATABASE") ?? "rollcall",
            user: try required("ROLLCALL_POSTGRES_ADMIN_USER", "the owner of the schema, who may create roles"),
            password: value("ROLLCALL_POSTGRES_ADMIN_PASSWORD") ?? "", applicationName: "rollcall",
            statementTimeout: nil)
    }

    func kafka() throws -> KafkaConfiguration {
        guard let overrides = SettingText.text(value("ROLLCALL_KAFKA_CLIENT_OVERRIDES") ?? "").pairs else {
            throw Failure(
                "ROLLCALL_KAFKA_CLIENT_OVERRIDES is a comma-separated list of name=value, each name once",
                code: Failure.configuration)
        }
        return KafkaConfiguration(
            bootstrapServers: try required("ROLLCALL_KAFKA_BOOTSTRAP", "brokers to start from, host:port"),
            clientID: "rollcall", overrides: overrides)
    }

    /// A connection of the owner for the length of `body`.
    func withOwner<Value: Sendable>(_ body: (PostgresConnection) async throws -> Value) async throws -> Value {
        let connection = PostgresConnection(try postgres(), name: "rollcall")
        try await connection.connect()
        do {
            let value = try await body(connection)
            await connection.close()
            return value
        } catch {
            await connection.close()
            throw error
        }
    }
}

/// Tries again until `attempt` succeeds or the time is up; then its last error is thrown.
func withPatience<Value: Sendable>(
    _ seconds: Int, _ waitingFor: String, _ attempt: () async throws -> Value
) async throws -> Value {
    let deadline = ContinuousClock.now + .seconds(seconds)
    var hasSaid = false
    while true {
        do {
            return try await attempt()
        } catch {
            let isWorthwhile =
                switch error {
                case let error as PostgresError: error.isRetriable
                case let error as KafkaError: error.isRetriable
                default: false
                }
            guard isWorthwhile, ContinuousClock.now + .milliseconds(250) < deadline else { throw error }
            if !hasSaid { Terminal.complain("waiting for \(waitingFor), at most \(seconds) s") }
            hasSaid = true
            try await Task.sleep(for: .milliseconds(250))
        }
    }
}
