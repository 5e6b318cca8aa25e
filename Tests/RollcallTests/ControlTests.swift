import Foundation
import Postgres
import TestKit
import Testing

@Suite(.timeLimit(.minutes(10))) struct `Operators hold sending` {
    private static func run(_ database: TestDatabase, _ arguments: String...) async throws -> Command.Result {
        try await Command.run(ProjectFolder.program("rollcall"), arguments, environment: database.environment)
    }

    @Test func `all sending is paused once, shown with its reason, and resumed once`() async throws {
        let database = try await LocalStack.shared().database("cli_pause")
        #expect(try await Self.run(database, "pause", "--status").output.contains("sending is not paused"))
        #expect(try await Self.run(database, "resume", "--all").status == 1)
        for wrong in [["pause"], ["pause", "--all"], ["pause", "--status", "--reason", "x"], ["resume"]] {
            let answer = try await Command.run(
                ProjectFolder.program("rollcall"), wrong, environment: database.environment)
            #expect(answer.status == 64, "\(wrong): \(answer.output)")
        }
        let first = try await Self.run(database, "pause", "--all", "--reason", "relay on fire")
        #expect(first.status == 0, "\(first.output)")
        #expect(first.output.contains("but emergencies"))
        // Said again by somebody who wants more, it holds more and keeps who began and why.
        let again = try await Self.run(database, "pause", "--all", "--include-emergency", "--reason", "other")
        #expect(again.output.contains("emergencies included") && again.output.contains("relay on fire"))
        #expect(try await Self.run(database, "pause", "--status").output.contains("relay on fire"))
        #expect(try await Self.run(database, "resume", "--all").status == 0)
        #expect(try await Self.run(database, "pause", "--status").output.contains("sending is not paused"))
        let owner = PostgresConnection(database.owner, name: "owner")
        try await owner.connect()
        let kept = try await owner.query("SELECT ended_by IS NOT NULL AS ended FROM operator_pause")
        #expect(try kept.map { try $0.bool("ended") } == [true])
        await owner.close()
    }

    @Test func `a district's quiet hours and approval are set, shown and taken back`() async throws {
        let database = try await LocalStack.shared().database("cli_rules")
        _ = try await Self.run(database, "districts", "add", "7", "North", "--time-zone", "America/Chicago")
        let none = try await Self.run(database, "districts", "show", "7")
        #expect(none.output.contains("quiet hours   none\n  approval      never"), "\(none.output)")
        for wrong in ["21:00", "21:00-21:00", "24:00-07:00", "9pm-7am"] {
            #expect(try await Self.run(database, "districts", "set", "7", "--quiet", wrong).status == 64)
        }
        #expect(try await Self.run(database, "districts", "set", "8", "--no-quiet").status == 1)
        let set = try await Self.run(
            database, "districts", "set", "7", "--quiet", "21:00-07:00", "--approval-above", "5000")
        #expect(set.status == 0, "\(set.output)")
        let shown = try await Self.run(database, "districts", "show", "7")
        #expect(
            shown.output.contains("quiet hours   21:00-07:00\n  approval      above 5000 recipients"), "\(shown.output)"
        )
        let back = try await Self.run(database, "districts", "set", "7", "--no-quiet", "--no-approval")
        #expect(back.output.contains("quiet hours   none\n  approval      never"), "\(back.output)")
        #expect(back.output.contains("time zone     America/Chicago"), "\(back.output)")
    }
}
