import ArgumentParser
import Delivery
import Postgres

struct Audit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check that every recipient of every blast is accounted for.",
        discussion: """
            Reads the database as its owner, each blast in one snapshot, so it may run while blasts are sent. Exit code \
            1 and one line per finding when something is off.
            """)

    @Argument(help: "Only this blast; the default is all.") var blast: BlastID?
    @Flag(help: "Print nothing but findings.") var quiet = false

    func run() async throws {
        let findings = try await Surroundings().withOwner { connection in
            let rows = try await connection.query(
                "SELECT blast_id FROM blast WHERE $1::text IS NULL OR blast_id = $1::text::uuid ORDER BY blast_id",
                [.text(blast?.description)])
            let blasts = try rows.map { try $0.string("blast_id") }
            if let blast, blasts.isEmpty { throw Failure("there is no blast \(blast)") }
            var findings = 0
            for id in blasts {
                let audit = try await BlastAudit.run(id, on: connection)
                if !quiet || !audit.findings.isEmpty { Terminal.say(audit.line) }
                for finding in audit.findings { Terminal.say("  \(finding)") }
                findings += audit.findings.count
            }
            if !quiet { Terminal.say("\(blasts.count) blasts, \(findings) findings") }
            return findings
        }
        guard findings == 0 else { throw Failure("\(findings) findings: not everything is accounted for") }
    }
}
