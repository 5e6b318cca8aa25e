import ArgumentParser
import Delivery
import Foundation

/// Looking at a draft before it is sent.
struct Draft: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look at a draft before it is sent: its messages, what would be decided; add to it; send it.",
        subcommands: [Upload.self, Attach.self, Preview.self, Test.self, DryRun.self, Order.self])

    struct Preview: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print one recipient's message; its personal links lead nowhere.")

        @Argument(help: "The blast.") var blast: BlastID
        @Argument(help: "The recipient's number, as in the list.") var recipient: Int32 = 1
        @Flag(help: "The whole message as it would be handed over (message/rfc822).") var whole = false
        @Flag(help: "The HTML instead of the text.") var html = false
        @OptionGroup var server: SenderServer

        // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
        private struct Shown: Decodable {
            let to: String
            let subject: String
            let html: String?
            let text: String?
            let attachments: [String]
            let sms: Segments?
            let fault: String?
        }

        private struct Segments: Decodable {
            let encoding: String
            let units: Int
            let segments: Int
        }

        func run() async throws {
            let path = "v1/blasts/\(blast)/preview/\(recipient)"
            guard !whole else {
                let answer = try await server.client().get(path, headers: ["Accept": "message/rfc822"])
                return Terminal.say(String(decoding: answer.body, as: UTF8.self))
            }
            let shown = try await server.client().get(path).decoded(Shown.self)
            if let fault = shown.fault {
                Terminal.complain("no message can reach this recipient: \(Terminal.plain(fault))")
            }
            Terminal.say("To: \(Terminal.plain(shown.to))\nSubject: \(Terminal.plain(shown.subject))")
            if !shown.attachments.isEmpty {
                Terminal.say("Attached: \(Terminal.plain(shown.attachments.joined(separator: ", ")))")
            }
            if let sms = shown.sms {
                Terminal.say("Segments: \(sms.segments), from \(sms.units) units of \(sms.encoding)")
            }
            Terminal.say("\n\((html ? shown.html ?? shown.text : shown.text ?? shown.html) ?? "")")
        }
    }

    struct Test: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send one recipient's message to yourself, marked as a test; it counts nowhere.")

        @Argument(help: "The blast.") var blast: BlastID
        @Option(help: "Where the test goes: an address, or a telephone number for a text message.") var to: String
        @Option(help: "Whose message.") var recipient: Int32 = 1
        @OptionGroup var server: SenderServer

        private struct Receipt: Decodable {
            let reply: String
        }

        func run() async throws {
            let body: [String: Any] = ["to": to, "recipient_no": Int(recipient)]
            let receipt = try await server.client().post(
                "v1/blasts/\(blast)/test", json: try JSONSerialization.data(withJSONObject: body)
            ).decoded(Receipt.self)
            Terminal.say("sent; the relay answered: \(Terminal.plain(receipt.reply))")
        }
    }

    struct DryRun: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say what every check says about every recipient. Nothing is sent.",
            discussion: "Prints one line for each recipient who would be left out; --all prints everybody.")

        @Argument(help: "The blast.") var blast: BlastID
        @Flag(help: "Also those who would get the message.") var all = false
        @Flag(help: "The server's lines as they are: one JSON object for each recipient.") var json = false
        @OptionGroup var server: SenderServer

        // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
        private struct Line: Decodable {
            let recipient_no: Int
            let line: Int
            let address: String
            let decision: String
            let reason: String?
        }

        func run() async throws {
            var counts: [String: Int] = [:]
            try await server.client().lines("v1/blasts/\(blast)/dry-run") { octets in
                if json { return Terminal.say(String(decoding: octets, as: UTF8.self)) }
                guard let line = try? JSONDecoder().decode(Line.self, from: octets) else {
                    throw Failure("the server's answer is not what this tool knows; are the versions the same?")
                }
                counts[line.decision, default: 0] += 1
                guard all || line.decision != "send" else { return }
                Terminal.say(
                    "\(line.recipient_no)  line \(line.line)  \(Terminal.plain(line.address))  \(line.decision)"
                        + (line.reason.map { ": \(Terminal.plain($0))" } ?? ""))
            }
            guard !json else { return }
            Terminal.say(DraftSummary.words(counts))
        }
    }

    struct Upload: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Give a draft its list, or go on with one that arrived in part.")

        @Argument(help: "The blast.") var blast: BlastID
        @Argument(help: "The list: CSV or NDJSON, gzip by the ending .gz.", completion: .file()) var file: String
        @OptionGroup var server: SenderServer

        func run() async throws {
            let url = URL(filePath: file)
            guard FileManager.default.isReadableFile(atPath: url.path) else { throw Failure("cannot read \(file)") }
            let client = try server.client()
            try await ListUpload(client: client, blast: blast, file: url).run().decoded(UploadedList.self).show()
            try await client.get("v1/blasts/\(blast)/summary").decoded(DraftSummary.self).show()
        }
    }

    struct Order: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "send", abstract: "Send a draft.")

        @Argument(help: "The blast.") var blast: BlastID
        @Option(help: "Names this order, so that repeating the command cannot send twice. The default is the blast.")
        var idempotencyKey: String?
        @OptionGroup var server: SenderServer

        func run() async throws {
            let client = try server.client()
            let sent = try await client.post(
                "v1/blasts/\(blast)/send", headers: ["Idempotency-Key": idempotencyKey ?? "draft-\(blast)"]
            ).decoded(SentOrder.self)
            sent.show(try await client.get("v1/blasts/\(blast)").decoded(SenderBlast.self))
        }
    }

    struct Attach: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Attach a file to every message of a draft.")

        @Argument(help: "The blast.") var blast: BlastID
        @Argument(help: "The file.", completion: .file()) var file: String
        @Option(help: "Its media type, such as application/pdf.") var type: String
        @OptionGroup var server: SenderServer

        func run() async throws {
            let url = URL(filePath: file)
            guard FileManager.default.isReadableFile(atPath: url.path) else { throw Failure("cannot read \(file)") }
            _ = try await server.client().put(
                "v1/blasts/\(blast)/attachments/\(url.lastPathComponent)", file: url, type: type)
            Terminal.say("attached \(Terminal.plain(url.lastPathComponent))")
        }
    }
}
