import ArgumentParser
import Delivery
import Foundation

struct FollowUp: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a draft to those of a blast's recipients whose delivery stands in a stated way.",
        discussion: """
            Say whom it is for with --to, or with --with and --without. The draft has the chosen rows of the earlier \
            blast's list and its content, but for what the options change; look at it with 'rollcall draft preview' and \
            send it with 'rollcall draft send'. Whom the earlier blast may still reach by itself is left out.
            """)

    @Argument(help: "The earlier blast.") var blast: BlastID
    @Option(help: "not_handed_over, not_acknowledged, or a status word as the report shows it.") var to: String?
    @Option(help: "The vocabulary of the word; the default is the district's.") var vocabulary: String?
    @Option(help: "A fact that a delivery has to have, such as sent; may be given again.") var with: [String] = []
    @Option(help: "A fact that it must not have, such as opened; may be given again.") var without: [String] = []
    @Option(help: "Another subject.") var subject: String?
    @Option(help: "A file with another HTML template; the earlier text goes too.", completion: .file())
    var html: String?
    @Option(help: "A file with another text template; the earlier HTML goes too.", completion: .file())
    var text: String?
    @Option(help: "What readers may answer where a template has {{respond_url}}; once for each answer.")
    var answer: [String] = []
    @Option(help: "Send at this time, such as 2026-11-23T07:30:00-06:00; at most 30 days ahead.") var sendAt: String?
    @Option(help: "Send nothing after this time.") var notAfter: String?
    @OptionGroup var server: SenderServer

    func validate() throws {
        guard (to != nil) != (!with.isEmpty || !without.isEmpty) else {
            throw ValidationError("Give --to, or --with and --without, to say whom it is for.")
        }
        guard vocabulary == nil || to != nil else { throw ValidationError("--vocabulary belongs to --to.") }
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Made: Decodable {
        let blast_id: String
        let audience: Int
        let in_progress: Int
    }

    func run() async throws {
        let client = try server.client()
        let made = try await client.post("v1/blasts/\(blast)/follow-up", json: try order()).decoded(Made.self)
        if made.in_progress > 0 {
            Terminal.complain("\(made.in_progress) more match and may still be reached by the earlier blast")
        }
        Terminal.say("blast \(made.blast_id): a draft to \(made.audience) recipients")
        try await client.get("v1/blasts/\(made.blast_id)/summary").decoded(DraftSummary.self).show()
    }

    private func order() throws -> Data {
        var order: [String: Any] = [:]
        order["to"] = to
        order["vocabulary"] = vocabulary
        if !with.isEmpty { order["with"] = with }
        if !without.isEmpty { order["without"] = without }
        order["subject"] = subject
        order["html"] = try html.map(Send.template)
        order["text"] = try text.map(Send.template)
        if !answer.isEmpty { order["answers"] = answer }
        order["send_at"] = sendAt
        order["not_after"] = notAfter
        return try JSONSerialization.data(withJSONObject: order, options: .sortedKeys)
    }
}
