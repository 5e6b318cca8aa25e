import ArgumentParser
import Delivery

struct Report: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the counts of a blast in the words of a product.",
        discussion: "The counts always sum to the audience.")

    @Argument(help: "The blast.") var blast: BlastID
    @Option(help: "The words to show; the default is the district's.") var vocabulary: String?
    @Option(help: "The time of the counts, such as 2026-11-21T13:53:57-06:00; the default is now.")
    var asOf: PointInTime?
    @OptionGroup var server: ReportServer

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Document: Decodable {
        let title: String
        let sending_ended_at: String?
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Counts: Decodable {
        struct Word: Decodable {
            let word: String
            let n: Int
        }
        let state: String
        let waits_for: String?
        let audience: Int
        let late_bounces: Int
        let late_bounce: String
        let as_of: String
        let words: [Word]
    }

    func run() async throws {
        let client = try server.client()
        var query: [String: String] = [:]
        query["as_of"] = asOf?.text
        let document = try await client.get("v1/blasts/\(blast)", query: query).decoded(Document.self)
        query["vocabulary"] = vocabulary
        let counts = try await client.get("v1/blasts/\(blast)/counts", query: query).decoded(Counts.self)
        Terminal.say("")
        Terminal.say(Terminal.plain(document.title))
        if asOf != nil { Terminal.say("as it was at \(counts.as_of)") }
        Terminal.say("\(counts.state)\(document.sending_ended_at.map { ", sending ended \($0)" } ?? "")")
        if let waits = counts.waits_for { Terminal.say("waits for \(Terminal.plain(waits))") }
        Terminal.say("")
        for row in counts.words where row.n > 0 { Terminal.say(Self.line(row.word, row.n, of: counts.audience)) }
        Terminal.say("  " + String(repeating: "─", count: 40))
        Terminal.say(Self.line("Recipients", counts.audience, of: counts.audience))
        if counts.late_bounces > 0 {
            let shown = counts.late_bounce == "frozen" ? "they keep that status" : "they show the bounce unless opened"
            Terminal.say("\n  \(counts.late_bounces) were delivered and came back later; \(shown).")
        }
    }

    private static func line(_ word: String, _ n: Int, of audience: Int) -> String {
        let name = Terminal.plain(word)
        let count = String(n)
        let share = audience > 0 ? "\((n * 1000 / audience + 5) / 10) %" : ""
        return "  " + name + String(repeating: " ", count: max(1, 24 - name.count))
            + String(repeating: " ", count: max(0, 8 - count.count)) + count
            + String(repeating: " ", count: max(1, 8 - share.count)) + share
    }
}
