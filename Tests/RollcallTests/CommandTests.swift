import Foundation
import Postgres
import TestKit
import Testing

/// The tool as an operator runs it: a process with arguments, environment, output and exit code.
@Suite(.timeLimit(.minutes(10))) struct `Command line` {
    private static func run(_ database: TestDatabase, _ arguments: [String], _ more: [String: String] = [:])
        async throws -> Command.Result
    {
        try await Command.run(
            ProjectFolder.program("rollcall"), arguments, environment: database.environment.merging(more) { $1 })
    }

    @Test func `a missing database is made and migrated once, and the roles get their password`() async throws {
        // Of its own: roles belong to the whole server, and other tests set their passwords at the same time.
        let stack = try await LocalStack.start("cli")
        let database = try await stack.database("cli")
        let name = "cli_made_\(UUID().uuidString.prefix(8).lowercased())"
        let environment = ["ROLLCALL_POSTGRES_DATABASE": name]
        let refused = try await Self.run(database, ["migrate", "--no-create", "--wait", "1"], environment)
        #expect(refused.status == 1)
        #expect(refused.output.contains("there is no database \(name)"))
        let made = try await Self.run(database, ["migrate", "--service-password-from-env"], environment)
        #expect(made.status == 0, "\(made.output)")
        #expect(made.output.contains("made the database \(name)"))
        #expect(made.output.contains("applied V1 ground"))
        let again = try await Self.run(database, ["migrate"], environment)
        #expect(again.status == 0)
        #expect(again.output.contains("nothing to apply"))
        let audit = try await Self.run(database, ["audit"], environment)
        #expect(audit.status == 0)
        #expect(audit.output.contains("0 blasts, 0 findings"))
        try await stack.stop()
    }

    @Test func `a district's key is shown once, works, and stops working when revoked`() async throws {
        let database = try await LocalStack.shared().database("cli")
        let words = ["districts", "add", "7", "North", "--vocabulary", "crisisworks"]
        #expect(try await Self.run(database, words).status == 0)
        #expect(try await Self.run(database, words).output.contains("was there already"))
        #expect(try await Self.run(database, ["districts", "add", "7", "Other"]).status == 1)
        #expect(
            try await Self.run(database, ["districts", "add", "8", "X", "--vocabulary", "no"]).status == 64)
        let made = try await Self.run(
            database, ["keys", "create", "7", "--scope", "read", "--scope", "send", "--label", "office"])
        #expect(made.status == 0, "\(made.output)")
        let key = try #require(made.output.split(separator: "\n").first { $0.hasPrefix("rck_") })
        let listed = try await Self.run(database, ["keys", "list"])
        #expect(!listed.output.contains(key.suffix(64)))
        #expect(listed.output.contains("district 7  send,read  office"))
        let id = String(key.dropFirst(4).prefix(16))
        #expect(try await Self.run(database, ["keys", "revoke", id]).status == 0)
        #expect(try await Self.run(database, ["keys", "list"]).output.contains("revoked 2"))
        #expect(try await Self.run(database, ["keys", "revoke", "0000000000000000"]).status == 1)
        #expect(
            try await Self.run(database, ["keys", "create", "9", "--scope", "read", "--label", "x"])
                .status
                == 1)
    }

    @Test func `a district's report settings change by name, and every change is recorded`() async throws {
        let database = try await LocalStack.shared().database("cli")
        #expect(try await Self.run(database, ["districts", "add", "7", "North"]).status == 0)
        let set = try await Self.run(
            database,
            [
                "districts", "set", "7", "--vocabulary", "iclasspro", "--late-bounce", "shown", "--opens", "all",
                "--actor", "ann",
            ])
        #expect(set.status == 0)
        for line in ["vocabulary    iclasspro", "late bounces  shown", "opens         all", "time zone     UTC"] {
            #expect(set.output.contains("  \(line)\n"), "\(set.output)")
        }
        let zone = ["districts", "set", "7", "--time-zone"]
        #expect(try await Self.run(database, zone + ["America/Denver"]).status == 0)
        #expect(try await Self.run(database, ["districts", "list"]).output.contains("late bounces shown, all opens"))
        for (words, status) in [
            (["7"], 64), (["7", "--opens", "none"], 64), (["7", "--late-bounce", "thawed"], 64),
            (["7", "--vocabulary", "none"], 64), (["7", "--time-zone", "Mars"], 64),
            (["7", "--time-zone", "GMT+0530"], 64), (["8", "--opens", "all"], 1),
        ] as [([String], Int32)] {
            #expect(try await Self.run(database, ["districts", "set"] + words).status == status, "\(words)")
        }
        let history = try await Self.run(database, ["districts", "history", "7"]).output.split(separator: "\n")
        #expect(history.count == 4)
        #expect(history.first?.contains("time_zone from \"UTC\" to \"America/Denver\"  by ") == true)
        #expect(history.first?.contains("@") == true, "who it was is known without being asked")
        #expect(history.contains { $0.contains("late_bounce from \"frozen\" to \"shown\"  by ann") })
    }

    @Test func `send says what each channel needs before it asks anybody`() async throws {
        let database = try await LocalStack.shared().database("cli")
        let mail = ["--subject", "Trip", "--from", "office@school.example"]
        for (words, answer) in [
            (["--channels", "fax", "--text", "t"], "one of 'email', 'sms' or 'email,sms'"),
            (["--channels", "sms,sms", "--text", "t"], "one of 'email', 'sms' or 'email,sms'"),
            (["--channels", "sms", "--html", "h"], "Give --text: a text message is made of it"),
            (mail + ["--channels", "sms,email", "--html", "h"], "Give --text: a text message is made of it"),
            (["--channels", "email,sms", "--text", "t"], "Give --subject and --from"),
            (["--subject", "Trip", "--text", "t"], "Give --subject and --from"), (mail, "Give --html, --text or both"),
        ] as [([String], String)] {
            let result = try await Self.run(database, ["send", "--csv", "l.csv"] + words)
            #expect(result.status == 64 && result.output.contains(answer), "\(words): \(result.output)")
        }
        for words in [mail + ["--text", "t"], mail + ["--channels", "sms,email", "--text", "t"]] {
            let result = try await Self.run(database, ["send", "--csv", "no-list.csv"] + words)
            #expect(result.status == 1 && result.output.contains("cannot read no-list.csv"), "\(result.output)")
        }
    }

    @Test func `what is missing or does not answer has a code of its own`() async throws {
        let database = try await LocalStack.shared().database("cli")
        #expect(try await Self.run(database, ["nonsense"]).status == 64)
        #expect(try await Self.run(database, ["audit"], ["ROLLCALL_POSTGRES_ADMIN_USER": ""]).status == 78)
        #expect(try await Self.run(database, ["migrate", "--wait", "1"], ["ROLLCALL_POSTGRES_PORT": "1"]).status == 69)
        #expect(
            try await Self.run(
                database, ["topics", "list", "--wait", "1"], ["ROLLCALL_KAFKA_BOOTSTRAP": "127.0.0.1:1"]
            )
            .status == 69)
        let cancel = try await Self.run(database, ["cancel", "01900000-0000-7000-8000-000000000001"])
        #expect(cancel.status == 78 && cancel.output.contains("ROLLCALL_SENDER_URL is not set"), "\(cancel.output)")
        for wrong in [["cancel", "trip"], ["audit", "trip"], ["snapshot", "--projection", "Live"]] {
            #expect(try await Self.run(database, wrong).status == 64, "\(wrong)")
        }
        let watch = ["watch", "01900000-0000-7000-8000-000000000001", "--url", "http://127.0.0.1:1"]
        #expect(try await Self.run(database, watch).status == 78)
        #expect(
            try await Self.run(database, watch + ["--timeout", "1"], ["ROLLCALL_API_KEY": "rck_x"]).status == 69)
    }
}
