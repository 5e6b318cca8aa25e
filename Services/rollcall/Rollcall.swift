import ArgumentParser
import Foundation
import Runtime

/// The operator's tool.
@main
struct Rollcall: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollcall", abstract: "Sets up, operates and audits Rollcall.",
        discussion: """
            Settings come from the same environment variables as the services': ROLLCALL_POSTGRES_HOST, _PORT and \
            _DATABASE, ROLLCALL_POSTGRES_ADMIN_USER and _PASSWORD (the owner of the schema), ROLLCALL_KAFKA_BOOTSTRAP, \
            ROLLCALL_API_KEY, ROLLCALL_SENDER_URL, ROLLCALL_REPORT_URL.

            Exit codes: 0 done; 1 refused, or something is off; 64 wrong command line; 69 a server does not answer; \
            77 the key is not accepted; 78 a setting is missing.
            """,
        groupedSubcommands: [
            CommandGroup(
                name: "Operate", subcommands: [Migrate.self, Topics.self, Districts.self, Decisions.self, Keys.self]),
            CommandGroup(
                name: "Send",
                subcommands: [
                    Send.self, Draft.self, Schedule.self, Approve.self, Pause.self, Resume.self, Cancel.self,
                    FollowUp.self,
                ]),
            CommandGroup(name: "Look", subcommands: [Watch.self, Report.self, Why.self, Audit.self, Snapshot.self]),
            CommandGroup(name: "Repair", subcommands: [Parked.self, InDoubt.self, Rebuild.self]),
        ])

    static func main() async {
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch let failure as Failure {
            Self.end(failure)
        } catch {
            guard Self.exitCode(for: error) == .failure else { Self.exit(withError: error) }
            Self.end(Failure(explaining: error))
        }
        ProcessEnd.now(0)
    }

    private static func end(_ failure: Failure) -> Never {
        Terminal.complain("rollcall: \(failure.message)")
        ProcessEnd.now(failure.code)
    }
}
