import ArgumentParser
import Foundation

struct Send: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a blast, give it its list and send it, over the public API.",
        discussion: """
            The list is CSV in UTF-8 with a heading: email, name, person_ref (or family_ref, student_ref, staff_ref), \
            school, locale, categories, consent, consent.CATEGORY, and a column for each field that the templates use. A \
            long list goes in parts. The key comes from ROLLCALL_API_KEY.
            """)

    @Option(help: "The sender's address, such as http://127.0.0.1:8080.") var url: String
    @Option(help: "The API key; better set ROLLCALL_API_KEY.") var key: String?
    @Option(help: "The subject, a Mustache template.") var subject: String
    @Option(help: "The From address.") var from: String
    @Option(help: "The name beside the From address.") var fromName: String?
    @Option(help: "Where answers go.") var replyTo: String?
    @Option(help: "A file with the HTML template.", completion: .file()) var html: String?
    @Option(help: "A file with the text template.", completion: .file()) var text: String?
    @Option(
        help: "The list of recipients: CSV, or NDJSON by the ending .ndjson; with .gz behind it, gzip.",
        completion: .file(extensions: ["csv", "ndjson", "gz"])) var csv: String
    @Option(name: .customLong("class"), help: "general or emergency.") var blastClass: String?
    @Option(help: "The broadcast type.") var category: String?
    @Option(help: "The school.") var school: String?
    @Option(help: "Send at this time, such as 2026-11-23T07:30:00-06:00; at most 30 days ahead.") var sendAt: String?
    @Option(help: "Send nothing after this time.") var notAfter: String?
    @Option(help: "The blast that this one repeats.") var parent: String?
    @Option(help: "Which second message is one too many: address, address+content or address+person.")
    var dedupeKey: String?
    @Option(help: "What readers may answer where a template has {{respond_url}}; once for each answer.")
    var answer: [String] = []
    @Option(help: "Names this order, so that repeating the command cannot send twice. The default is new each time.")
    var idempotencyKey: String?
    @Flag(help: "Stop before sending: show what would happen and keep the draft.") var dryRun = false
    @Flag(help: "Follow the blast until everything is handed over.") var watch = false
    @Option(help: "The report API's address, for --watch.") var reportURL: String?
    @Option(help: "The words that --watch uses.") var vocabulary: String?

    func validate() throws {
        guard html != nil || text != nil else { throw ValidationError("Give --html, --text or both.") }
        guard !watch || reportURL != nil else { throw ValidationError("--watch needs --report-url.") }
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Made: Decodable {
        let blast_id: String
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Sent: Decodable {
        let audience: Int
        let send_requested_at: String
        let approval_until: String?
    }

    func run() async throws {
        let list = URL(filePath: csv)
        guard FileManager.default.isReadableFile(atPath: list.path) else { throw Failure("cannot read \(csv)") }
        let client = try APIClient(base: url, key: key)
        let made = try await client.post("v1/blasts", json: try draft()).decoded(Made.self)
        let path = "v1/blasts/\(made.blast_id)"
        do {
            try await ListUpload(client: client, blast: made.blast_id, file: list).run().decoded(UploadedList.self)
                .show()
        } catch let failure as Failure where failure.code == Failure.refused {
            // A draft whose list was refused is of no use to anybody.
            _ = try? await client.delete(path)
            throw failure
        } catch let failure as Failure where failure.code == Failure.unavailable {
            throw Failure(
                "\(failure.message)\nThe draft \(made.blast_id) keeps what arrived; go on with: rollcall draft list "
                    + "\(made.blast_id) \(csv), then rollcall draft send \(made.blast_id)", code: failure.code)
        }
        Terminal.say("blast \(made.blast_id)")
        try await client.get("\(path)/summary").decoded(DraftSummary.self).show()
        guard !dryRun else { return Terminal.say("not sent: --dry-run") }
        let sent = try await client.post(
            "\(path)/send", headers: ["Idempotency-Key": idempotencyKey ?? UUID().uuidString]
        ).decoded(Sent.self)
        if let until = sent.approval_until {
            Terminal.say("ordered for \(sent.audience) recipients; somebody else has to approve it until \(until)")
        } else if let sendAt {
            Terminal.say("ordered for \(sent.audience) recipients, to be sent at \(sendAt)")
        } else {
            Terminal.say("sending to \(sent.audience) recipients since \(sent.send_requested_at)")
        }
        if watch, let reportURL {
            try await BlastWatch(
                client: try APIClient(base: reportURL, key: key), blast: made.blast_id, vocabulary: vocabulary,
                untilSettled: false
            ).run()
        }
    }

    private func draft() throws -> Data {
        var from: [String: String] = ["address": self.from]
        from["name"] = fromName
        var draft: [String: Any] = ["subject": subject, "from": from]
        draft["reply_to"] = replyTo
        draft["html"] = try html.map(Self.template)
        draft["text"] = try text.map(Self.template)
        draft["class"] = blastClass
        draft["category"] = category
        draft["school"] = school
        draft["send_at"] = sendAt
        draft["not_after"] = notAfter
        draft["parent_blast_id"] = parent
        draft["dedupe_key"] = dedupeKey
        if !answer.isEmpty { draft["answers"] = answer }
        return try JSONSerialization.data(withJSONObject: draft, options: .sortedKeys)
    }

    private static func template(_ path: String) throws -> String {
        guard let data = FileManager.default.contents(atPath: path) else { throw Failure("cannot read \(path)") }
        guard let text = String(validating: data, as: UTF8.self) else {
            throw Failure("\(path) is not UTF-8; save it as UTF-8")
        }
        return text
    }
}
