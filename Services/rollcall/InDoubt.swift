import ArgumentParser
import Contracts
import Delivery
import Foundation
import Postgres

/// Messages of which nobody knows whether they were accepted, and what operators found out about them.
struct InDoubt: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "in-doubt", abstract: "List messages that may or may not have been sent, and settle them.",
        discussion: """
            A message is in doubt when a sender died, or a relay fell silent, between the last byte of the message and \
            the answer to it. Later news settles it by itself; after a while the blast's policy does: one more attempt, \
            or "unknown". What is left is listed here. Whoever finds out more, in a relay's log for example, says so \
            with 'settle'; it is recorded with name and reason, and a sender applies it.
            """, subcommands: [List.self, Settle.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List what is in doubt, oldest first.")

        @Option(help: "Only of this blast.") var blast: BlastID?
        @Option(help: "At most so many lines.") var limit = 1000

        func validate() throws {
            guard limit > 0 else { throw ValidationError("--limit is 1 or more.") }
        }

        func run() async throws {
            try await Surroundings().withOwner { connection in
                let rows = try await connection.query(
                    Doubt.undecided,
                    [.text(blast?.description), .int(Doubt.evidence.bits), .int(Int64(limit) + 1)])
                for row in rows.prefix(limit) {
                    let at = Timestamp.string(microseconds: try row.timestampMicroseconds("since"))
                    Terminal.say(
                        Terminal.escaped(
                            "\(try row.string("attempt"))  \(try row.string("state"))  \(at)  "
                                + "district \(try row.int("district_id"))  \(try row.string("address"))  "
                                + (try row.optionalString("reply") ?? "")))
                }
                if rows.isEmpty { Terminal.say("nothing is in doubt") }
                if rows.count > limit { Terminal.complain("there are more; see --limit") }
            }
        }
    }

    struct Settle: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say of a message in doubt that it was sent, or that it was not.",
            discussion: """
                What was not sent is not sent again by itself: it reads Not Sent, and 'rollcall follow-up --to \
                not_handed_over' makes a draft to it. Saying the same twice is saying it once.
                """)

        enum Verdict: String, ExpressibleByArgument, CaseIterable {
            case sent
            case notSent = "not-sent"
        }

        @Argument(help: "The attempts, as 'in-doubt list' names them: BLAST/RECIPIENT/ATTEMPT.") var attempts: [String]
        @Option(name: .customLong("as"), help: "What became of it.") var verdict: Verdict
        @Option(help: "How you know; kept, and shown in the report.") var reason: String
        @Option(help: "Seconds to wait until a sender has applied it.") var wait = 15
        @OptionGroup var actor: ActorOption

        func validate() throws {
            guard (1...400).contains(reason.unicodeScalars.count) else {
                throw ValidationError("--reason has 1 to 400 characters.")
            }
            for attempt in attempts where Doubt(attempt) == nil {
                throw ValidationError("\(attempt) is no attempt such as BLAST/17/1; see 'rollcall in-doubt list'.")
            }
        }

        func run() async throws {
            try await Surroundings().withOwner { connection in
                var refusals: [String] = []
                let doubts = attempts.compactMap(Doubt.init)
                for doubt in doubts {
                    if let refusal = try await doubt.settle(
                        wasSent: verdict == .sent, reason: reason, by: actor.name, on: connection)
                    {
                        refusals.append(refusal)
                    }
                }
                let deadline = ContinuousClock.now + .seconds(wait)
                for doubt in doubts {
                    while try await doubt.isOpen(on: connection), ContinuousClock.now < deadline {
                        try await Task.sleep(for: .milliseconds(250))
                    }
                    Terminal.say(Terminal.escaped(try await doubt.line(on: connection)))
                }
                if !refusals.isEmpty { throw Failure(Terminal.escaped(refusals.joined(separator: "; "))) }
            }
        }
    }
}

/// One attempt in doubt, by its name.
struct Doubt {
    /// What only a message that was accepted can cause.
    static let evidence = DeliveryFacts.acceptanceEvidenceMask.union(DeliveryFacts(.bounced, .bouncedInvalid))

    static let undecided = """
        WITH undecided AS (
            SELECT blast_id, recipient_no, attempt_no, district_id, state, reply, settled_at FROM attempt
             WHERE state = 'in_doubt' AND ($1::text IS NULL OR blast_id = $1::text::uuid)
            UNION ALL
            SELECT blast_id, recipient_no, attempt_no, district_id, state, reply, settled_at FROM attempt
             WHERE state = 'unknown' AND ($1::text IS NULL OR blast_id = $1::text::uuid)
        )
        SELECT a.blast_id || '/' || a.recipient_no || '/' || a.attempt_no AS attempt, a.state,
               a.settled_at AS since, a.district_id, a.reply, r.address
          FROM undecided a
          JOIN recipient r ON r.blast_id = a.blast_id AND r.recipient_no = a.recipient_no
          JOIN delivery_status s ON s.blast_id = a.blast_id AND s.recipient_no = a.recipient_no
         WHERE s.facts & $2 = 0
         ORDER BY a.settled_at, a.blast_id, a.recipient_no
         LIMIT $3
        """
    private static let ask = """
        INSERT INTO doubt_settlement (blast_id, recipient_no, attempt_no, was_sent, reason, actor)
        SELECT a.blast_id, a.recipient_no, a.attempt_no, $4, $5, $6 FROM attempt a
         WHERE a.blast_id = $1 AND a.recipient_no = $2 AND a.attempt_no = $3 AND a.state IN ('in_doubt', 'unknown')
        ON CONFLICT DO NOTHING
        RETURNING attempt_no
        """
    private static let standing = """
        SELECT a.state, a.reply, d.was_sent, d.actor, d.asked_at
          FROM attempt a
          LEFT JOIN doubt_settlement d ON d.blast_id = a.blast_id AND d.recipient_no = a.recipient_no
                                      AND d.attempt_no = a.attempt_no
         WHERE a.blast_id = $1 AND a.recipient_no = $2 AND a.attempt_no = $3
        """

    let blast: BlastID
    let recipient: Int32
    let attempt: Int32

    init?(_ name: String) {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, let blast = BlastID(String(parts[0])), let recipient = Int32(parts[1]),
            let attempt = Int32(parts[2]), recipient > 0, attempt > 0
        else { return nil }
        self.blast = blast
        self.recipient = recipient
        self.attempt = attempt
    }

    private var name: String { "\(blast)/\(recipient)/\(attempt)" }
    private var key: [PostgresParameter] {
        [.uuid(high: blast.high, low: blast.low), .int4(recipient), .int4(attempt)]
    }

    /// Records what an operator says.
    /// - Returns: why it was refused; nil when it stands, now or since before.
    func settle(
        wasSent: Bool, reason: String, by operatorName: String, on connection: PostgresConnection
    ) async throws -> String? {
        let asked = try await connection.query(
            Self.ask, key + [.bool(wasSent), .text(reason), .text(operatorName)])
        guard asked.isEmpty else { return nil }
        guard let row = try await connection.query(Self.standing, key).first else {
            return "\(name) does not exist; see 'rollcall in-doubt list'"
        }
        guard let actor = try row.optionalString("actor") else {
            return "\(name) is \(try row.string("state")), which is not in doubt; nothing was changed"
        }
        guard try row.bool("was_sent") != wasSent else { return nil }
        return "\(name) was settled otherwise by \(actor) at "
            + "\(Timestamp.string(microseconds: try row.timestampMicroseconds("asked_at"))); nothing was changed"
    }

    func isOpen(on connection: PostgresConnection) async throws -> Bool {
        guard let row = try await connection.query(Self.standing, key).first else { return false }
        return try row.optionalString("actor") != nil && ["in_doubt", "unknown"].contains(try row.string("state"))
    }

    func line(on connection: PostgresConnection) async throws -> String {
        guard let row = try await connection.query(Self.standing, key).first else { return "\(name)  does not exist" }
        let isOpen = try await isOpen(on: connection)
        return "\(name)  \(try row.string("state"))  "
            + (isOpen ? "recorded; a sender applies it once one runs" : try row.optionalString("reply") ?? "")
    }
}
