import ArgumentParser
import Delivery
import Foundation

struct Send: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a blast, give it its list and send it, over the public API.",
        discussion: """
            The list is CSV in UTF-8 with a heading: email, phone, name, person_ref (or family_ref, student_ref, staff_ref), \
            school, locale, categories, consent, consent.CATEGORY, and a column for each field that the templates use. A \
            long list goes in parts.
            """)

    @Option(help: "How it goes out. Text messages are made of --text.")
    var channels: BlastChannels = .email
    @Option(help: "The subject, a Mustache template. Text messages alone need none.") var subject: String?
    @Option(help: "The From address. Text messages alone need none.") var from: String?
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
    @Option(help: "The blast that this one repeats.") var parent: BlastID?
    @Option(help: "Which second message is one too many: address, address+content or address+person.")
    var dedupeKey: String?
    @Option(help: "What readers may answer where a template has {{respond_url}}; once for each answer.")
    var answer: [String] = []
    @Option(help: "Names this order, so that repeating the command cannot send twice. The default is new each time.")
    var idempotencyKey: String?
    @Flag(help: "Stop before sending: show what would happen and keep the draft.") var draftOnly = false
    @Flag(help: "Follow the blast until everything is handed over.") var watch = false
    @Option(help: "The report API's address, for --watch; the default is ROLLCALL_REPORT_URL.") var reportURL: String?
    @Option(help: "The words that --watch uses.") var vocabulary: String?
    @OptionGroup var server: SenderServer

    func validate() throws {
        guard channels == .sms || subject != nil && from != nil else {
            throw ValidationError("Give --subject and --from: mail needs both.")
        }
        guard channels == .email || text != nil else {
            throw ValidationError("Give --text: a text message is made of it, and --channels has sms.")
        }
        guard html != nil || text != nil else { throw ValidationError("Give --html, --text or both.") }
        guard !watch || !draftOnly else {
            throw ValidationError("--watch follows what is sent: leave out --draft-only.")
        }
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Made: Decodable {
        let blast_id: String

        func id() throws -> BlastID {
            guard let id = BlastID(blast_id) else { throw Failure("the sender names no blast") }
            return id
        }
    }

    func run() async throws {
        let list = URL(filePath: csv)
        guard FileManager.default.isReadableFile(atPath: list.path) else { throw Failure("cannot read \(csv)") }
        let client = try server.client()
        let report = try watch ? ReportServer.client(url: reportURL, option: "--report-url", key: server.key) : nil
        let blast = try await client.post("v1/blasts", json: try draft()).decoded(Made.self).id()
        let path = "v1/blasts/\(blast)"
        do {
            try await ListUpload(client: client, blast: blast, file: list).run().decoded(UploadedList.self).show()
        } catch let failure as Failure where failure.code == Failure.refused {
            // A draft whose list was refused is of no use to anybody.
            _ = try? await client.delete(path)
            throw failure
        } catch let failure as Failure where failure.code == Failure.unavailable {
            throw Failure(
                "\(failure.message)\nThe draft \(blast) keeps what arrived; go on with: rollcall draft upload "
                    + "\(blast) \(csv), then rollcall draft send \(blast)", code: failure.code)
        }
        Terminal.say("blast \(blast)")
        try await client.get("\(path)/summary").decoded(DraftSummary.self).show()
        guard !draftOnly else { return Terminal.say("a draft, not sent") }
        try await client.post(
            "\(path)/send", headers: ["Idempotency-Key": idempotencyKey ?? UUID().uuidString]
        ).decoded(SentOrder.self).show(try await client.get(path).decoded(SenderBlast.self))
        if let report {
            try await BlastWatch(
                client: report, blast: blast, vocabulary: vocabulary, untilSettled: false
            ).run()
        }
    }

    private func draft() throws -> Data {
        var draft: [String: Any] = ["channels": channels.names]
        draft["subject"] = subject
        if let from {
            var sender = ["address": from]
            sender["name"] = fromName
            draft["from"] = sender
        }
        draft["reply_to"] = replyTo
        draft["html"] = try html.map(Self.template)
        draft["text"] = try text.map(Self.template)
        draft["class"] = blastClass
        draft["category"] = category
        draft["school"] = school
        draft["send_at"] = sendAt
        draft["not_after"] = notAfter
        draft["parent_blast_id"] = parent?.description
        draft["dedupe_key"] = dedupeKey
        if !answer.isEmpty { draft["answers"] = answer }
        return try JSONSerialization.data(withJSONObject: draft, options: .sortedKeys)
    }

    static func template(_ path: String) throws -> String {
        guard let data = FileManager.default.contents(atPath: path) else { throw Failure("cannot read \(path)") }
        guard let text = String(validating: data, as: UTF8.self) else {
            throw Failure("\(path) is not UTF-8; save it as UTF-8")
        }
        return text
    }
}
