import ArgumentParser
import Delivery

struct Why: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say why a recipient has the status it has.",
        discussion: "An address must stand in the blast once; else give the number.")

    @Argument(help: "The blast.") var blast: BlastID
    @Argument(help: "The recipient's number or e-mail address.") var recipient: String
    @Option(help: "The words to show; the default is the district's.") var vocabulary: String?
    @Option(help: "Why it was so at a time, such as 2026-11-21T13:53:57-06:00.") var asOf: PointInTime?
    @OptionGroup var server: ReportServer

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct List: Decodable {
        struct Item: Decodable {
            let recipient_no: Int32
            let address: String
        }
        let items: [Item]
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Document: Decodable {
        struct Recipient: Decodable {
            let recipient_no: Int32
            let name: String?
            let address: String
        }
        struct Statement: Decodable {
            let said_by: String
            let at: String?
            let said: String?
        }
        struct Explanation: Decodable {
            let status: String
            let decided_by: Statement
            let meaning: String
            let code_meaning: String?
            let caveat: String?
            let advice: String?
            let late_bounce: Statement?
            let notes: [String]
        }
        let recipient: Recipient
        let explanation: Explanation
    }

    func run() async throws {
        let client = try server.client()
        var query: [String: String] = [:]
        query["as_of"] = asOf?.text
        query["vocabulary"] = vocabulary
        let number = try await number(client)
        let document = try await client.get("v1/blasts/\(blast)/recipients/\(number)", query: query)
            .decoded(Document.self)
        for line in Self.lines(document) { Terminal.say(Terminal.plain(line)) }
    }

    private func number(_ client: APIClient) async throws -> Int32 {
        if let number = Int32(recipient) { return number }
        let found = try await client.get(
            "v1/blasts/\(blast)/recipients", query: ["q": recipient, "limit": "100"]
        ).decoded(List.self).items.filter { $0.address.lowercased() == recipient.lowercased() }
        guard let item = found.first else {
            throw Failure("nobody in this blast has the address \(Terminal.plain(recipient))")
        }
        guard found.count == 1 else {
            let numbers = found.map { String($0.recipient_no) }.joined(separator: ", ")
            throw Failure("several recipients have this address; give one of the numbers \(numbers)")
        }
        return item.recipient_no
    }

    private static func lines(_ document: Document) -> [String] {
        let recipient = document.recipient
        let why = document.explanation
        var lines = [
            "\(recipient.recipient_no)  \(recipient.name ?? "(no name)")  \(recipient.address)",
            "\(why.status): \(why.meaning)\(why.caveat.map { " " + $0 } ?? "")",
            "who said so: \(why.decided_by.said_by)\(why.decided_by.at.map { ", at " + $0 } ?? "")",
        ]
        if let said = why.decided_by.said { lines.append("in their words: \(said)") }
        if let meaning = why.code_meaning { lines.append("that means: \(meaning)") }
        lines += why.notes
        if let bounce = why.late_bounce {
            lines.append("returned\(bounce.at.map { " at " + $0 } ?? "")\(bounce.said.map { ": " + $0 } ?? "")")
        }
        if let advice = why.advice { lines.append("what to do: \(advice)") }
        return lines
    }
}
