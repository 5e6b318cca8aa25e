import Delivery
import Foundation
import Postgres
import Signing
import TestKit

@testable import sender

/// One sender as a process on a database of its own. Chunks are born cleared and the guard's knowledge is fresh, so that
/// nothing else has to run.
struct SenderProcessRig {
    static let connections = 4
    static let tokens = "1:" + String(repeating: "5a", count: 32)

    let dispatch: DispatchRig
    let folder: URL
    let environment: [String: String]
    let name: String
    private let processes: StartedProcesses

    static func make(
        _ name: String, on stack: LocalStack, _ processes: StartedProcesses, smtpPort: Int,
        _ more: [String: String] = [:]
    ) async throws -> SenderProcessRig {
        let dispatch = try await DispatchRig.make(name, on: stack)
        let variables = dispatch.database.environment.merging([
            "ROLLCALL_KAFKA_CLIENT_OVERRIDES": "session.timeout.ms=2000,heartbeat.interval.ms=500",
            "ROLLCALL_TOKENS_KEYS": tokens, "ROLLCALL_PUBLIC_URL": "http://127.0.0.1:1",
            "ROLLCALL_SMTP_PORT": "\(smtpPort)", "ROLLCALL_SMTP_CONNECTIONS": "\(connections)",
            "ROLLCALL_SENDER_WINDOW": "8", "ROLLCALL_SENDER_LEASE": "4s", "ROLLCALL_SMTP_DOT_DEADLINE": "3s",
            "ROLLCALL_SENDER_RETRY_SCHEDULE": "1s,1s,1s,1s,1s,1s", "ROLLCALL_SENDER_INDOUBT_AFTER": "500ms",
            "ROLLCALL_SENDER_BREAKER_SHARE": "100",
        ]) { $1 }.merging(more) { $1 }
        return SenderProcessRig(
            dispatch: dispatch, folder: stack.stateFolder, environment: variables, name: "sender-\(name)",
            processes: processes)
    }

    /// - Parameter port: where its API listens; nil takes any.
    func start(_ more: [String: String] = [:], port: Int? = nil) throws -> ServiceProcess {
        var environment = environment.merging(more) { $1 }
        environment["ROLLCALL_SENDER_LISTEN"] = "127.0.0.1:\(try port ?? FreePort.take())"
        return processes.keep(
            try ServiceProcess("sender", environment: environment, folder: folder, name: name))
    }

    func count(_ sql: String, _ parameters: [PostgresParameter] = []) async throws -> Int64 {
        try await dispatch.owner.query(sql, parameters)[0].int("n")
    }

    /// Waits until every blast of the database is sent and every fact of its attempts is on the topic.
    func settled() async throws {
        try await eventually("\(name): every blast is sent and reported", within: .seconds(90)) {
            try await count(
                """
                SELECT (SELECT count(*) FROM blast WHERE state <> 'sent')
                       + (SELECT count(*) FROM attempt WHERE fact IS NOT NULL AND reported_at IS NULL)
                       + (SELECT count(*) FROM attempt_report) AS n
                """) == 0
        }
    }

    /// Waits until a statement of the sender that begins with these words waits for a row that the caller holds.
    func waitsForRow(in statement: String) async throws {
        try await eventually("\(name) waits in \(statement)", within: .seconds(120)) {
            try await count(
                """
                SELECT count(*) AS n FROM pg_stat_activity
                 WHERE datname = current_database() AND usename = 'rollcall_dispatch' AND wait_event_type = 'Lock'
                   AND ltrim(query) LIKE $1 || '%'
                """, [.text(statement)]) > 0
        }
    }
}
