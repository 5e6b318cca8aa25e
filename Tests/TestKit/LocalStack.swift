public import Foundation
public import Postgres
import Schema
import Synchronization

/// A real PostgreSQL and a real broker, started by `deploy/local/stack` in a folder of their own.
public struct LocalStack: Sendable {
    public let stateFolder: URL
    public let environment: [String: String]

    /// The stack of the whole test run, started by `deploy/local/test` and named by `ROLLCALL_TEST_STATE`.
    ///
    /// Tests share it: each uses databases and topics of its own, and none restarts its parts.
    public static func shared() async throws -> LocalStack {
        guard let folder = ProcessInfo.processInfo.environment["ROLLCALL_TEST_STATE"] else {
            throw TestKitError(
                "ROLLCALL_TEST_STATE is not set: run the tests with `make test` or `deploy/local/test --filter NAME`")
        }
        return try LocalStack(stateFolder: URL(filePath: folder))
    }

    /// A private stack, for tests that restart or break its parts. End it with `stop()`.
    public static func start(_ name: String) async throws -> LocalStack {
        let parent = ProcessInfo.processInfo.environment["ROLLCALL_TEST_STATE"].map { URL(filePath: $0) }
        let folder = (parent ?? FileManager.default.temporaryDirectory)
            .appending(path: "\(name)-\(UUID().uuidString.prefix(8))")
        try await run(["up"], folder: folder)
        return try LocalStack(stateFolder: folder)
    }

    public func stop() async throws { try await Self.run(["down", "--purge"], folder: stateFolder) }

    /// Restarts the broker on its port, empty and with a new cluster id.
    public func restartBroker() async throws { try await Self.run(["restart-broker"], folder: stateFolder) }

    /// Ends the broker with SIGKILL. `startBroker` brings it back, empty.
    public func killBroker() async throws { try await Self.run(["kill-broker"], folder: stateFolder) }
    public func startBroker() async throws { try await Self.run(["up"], folder: stateFolder) }

    /// Ends PostgreSQL with SIGKILL. `startPostgres` brings it back, on its port and with what it had committed.
    public func killPostgres() async throws { try await Self.run(["stop", "postgres", "--kill"], folder: stateFolder) }
    public func startPostgres() async throws { try await Self.run(["up"], folder: stateFolder) }

    public var kafkaBootstrap: String { environment["ROLLCALL_KAFKA_BOOTSTRAP"] ?? "" }

    /// The password of every service role in databases made by `database(_:)`.
    public static let servicePassword = "service-password-of-a-test"

    /// A new, migrated database.
    ///
    /// Roles belong to the whole server, and the first database of a run gives the service roles the password of tests:
    /// services that somebody started on the same server by hand can no longer log in.
    public func database(_ name: String) async throws -> TestDatabase {
        let database = "\(name)_\(UUID().uuidString.prefix(8).lowercased())"
        let administrator = PostgresConnection(configuration(database: "postgres"), name: "test-admin")
        try await administrator.connect()
        try await administrator.execute(script: "CREATE DATABASE \(database)")
        await administrator.close()
        let owner = PostgresConnection(configuration(database: database), name: "test-owner")
        try await owner.connect()
        let migrator = Migrator(connection: owner)
        try await Self.migrationLock.withLock {
            _ = try await migrator.migrate(daysAhead: 1)
            if !Self.serversWithPassword.withLock({ $0.contains(stateFolder.path) }) {
                try await migrator.setServicePassword(Self.servicePassword)
                _ = Self.serversWithPassword.withLock { $0.insert(stateFolder.path) }
            }
        }
        await owner.close()
        return TestDatabase(stack: self, name: database)
    }

    func configuration(database: String, user: String? = nil) -> PostgresConfiguration {
        PostgresConfiguration(
            host: environment["ROLLCALL_POSTGRES_HOST"] ?? "127.0.0.1",
            port: environment["ROLLCALL_POSTGRES_PORT"].flatMap { Int($0) } ?? 0, database: database,
            user: user ?? environment["ROLLCALL_POSTGRES_ADMIN_USER"] ?? "",
            password: user == nil ? environment["ROLLCALL_POSTGRES_ADMIN_PASSWORD"] ?? "" : Self.servicePassword,
            applicationName: "rollcall-tests")
    }

    /// Altering the same role from two databases at once fails.
    private static let migrationLock = AsyncLock()
    private static let serversWithPassword = Mutex<Set<String>>([])

    init(stateFolder: URL) throws {
        self.stateFolder = stateFolder
        let text = try String(contentsOf: stateFolder.appending(path: "stack.env"), encoding: .utf8)
        var environment: [String: String] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1)
            if parts.count == 2 { environment[String(parts[0])] = String(parts[1]) }
        }
        self.environment = environment
    }

    private static func run(_ arguments: [String], folder: URL) async throws {
        let result = try await Command.run(
            ProjectFolder.root.appending(path: "deploy/local/stack"), arguments,
            environment: ["ROLLCALL_STATE": folder.path])
        guard result.status == 0 else {
            throw TestKitError("stack \(arguments.joined(separator: " ")) failed:\n\(result.output)")
        }
    }
}

/// A migrated database of one test.
public struct TestDatabase: Sendable {
    let stack: LocalStack
    public let name: String

    /// The owner, who sees and may do everything.
    public var owner: PostgresConfiguration { stack.configuration(database: name) }
    /// A service's role, `rollcall_projector` and the like.
    public func role(_ role: String) -> PostgresConfiguration { stack.configuration(database: name, user: role) }

    /// The environment of a service that works on this database.
    public var environment: [String: String] {
        stack.environment.merging([
            "ROLLCALL_POSTGRES_DATABASE": name, "ROLLCALL_POSTGRES_PASSWORD": LocalStack.servicePassword,
        ]) { $1 }
    }
}

/// Lets one caller in at a time, without blocking a thread.
final class AsyncLock: Sendable {
    private struct State {
        var isHeld = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }
    private let state = Mutex(State())

    func withLock<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        await withCheckedContinuation { continuation in
            let enters = state.withLock { state in
                if state.isHeld {
                    state.waiters.append(continuation)
                    return false
                }
                state.isHeld = true
                return true
            }
            if enters { continuation.resume() }
        }
        defer {
            let next = state.withLock { state in
                if state.waiters.isEmpty {
                    state.isHeld = false
                    return nil as CheckedContinuation<Void, Never>?
                }
                return state.waiters.removeFirst()
            }
            next?.resume()
        }
        return try await body()
    }
}
