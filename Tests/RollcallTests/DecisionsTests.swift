import Foundation
import Postgres
import TestKit
import Testing

@Suite(.timeLimit(.minutes(10))) struct `A district's decisions` {
    @Test func `hold from the newest one on, and are kept with who and why (S-16)`() async throws {
        let database = try await LocalStack.shared().database("decisions")
        let owner = PostgresPool(database.owner, size: 1)
        _ = try await owner.query("INSERT INTO district (district_id, name) VALUES (7, 'Seven')")
        func run(_ arguments: String...) async throws -> Command.Result {
            try await Command.run(
                ProjectFolder.program("rollcall"), ["decisions"] + arguments, environment: database.environment)
        }
        func holds(_ kind: String, _ subject: String = "") async throws -> Bool {
            try await owner.query("SELECT district_decided(7, $1, $2) AS held", [.text(kind), .text(subject)])[0]
                .bool("held")
        }
        #expect(try await !holds("tracking_off"))
        let why = ["--actor", "Board", "--reason", "minutes of 3 May"]
        #expect(try await run("tracking", "7", "off", why[0], why[1], why[2], why[3]).status == 0)
        #expect(try await holds("tracking_off"))
        #expect(
            try await run(
                "unsubscribe", "7", "attendance", "off", why[0], why[1], why[2], why[3]
            ).status == 0)
        #expect(try await holds("unsubscribe_exempt", "attendance"))
        #expect(try await !holds("unsubscribe_exempt", "news"))
        #expect(
            try await run("tracking", "7", "on", "--actor", "Board", "--reason", "changed our mind").status == 0)
        #expect(try await !holds("tracking_off"))
        let list = try await run("list", "7").output.split(separator: "\n").map(String.init)
        #expect(list.count == 3)
        #expect(list[0].hasSuffix("tracking on  Board: changed our mind"))
        #expect(list[1].hasSuffix("unsubscription off for attendance  Board: minutes of 3 May"))
        for arguments in [
            ["tracking", "7", "off", "--actor", "x"],
            ["tracking", "7", "off", "--actor", "x", "--reason", ""],
            ["tracking", "7", "off", "--actor", "", "--reason", "y"],
            ["tracking", "7", "maybe", "--actor", "x", "--reason", "y"],
        ] {
            #expect(
                try await Command.run(
                    ProjectFolder.program("rollcall"), ["decisions"] + arguments, environment: database.environment
                ).status == 64, "\(arguments)")
        }
        #expect(try await run("tracking", "9", "off", "--actor", "x", "--reason", "y").status == 1)
        await owner.close()
    }
}
