import Contracts
import Delivery
import Foundation
import HTTPProviders
import HTTPTypes
import Hummingbird
import Mail
import NIOCore
import Runtime
import SMTP

/// Looking at a draft the way its readers will, before anything is sent.
extension IntakeRoutes {
    func registerDrafts<Context: RequestContext & Sendable>(on router: Router<Context>) {
        router.get("/v1/blasts/:blast/preview/:recipient") { request, context in try await preview(request, context) }
        router.post("/v1/blasts/:blast/test") { request, context in try await test(request, context) }
        router.get("/v1/blasts/:blast/dry-run") { request, context in try await dryRun(request, context) }
        router.get("/v1/blasts/:blast/attachments") { request, context in
            let caller = try await authenticate(request, .send, .read, .admin)
            return try Self.json(try await attachments(context, caller).list())
        }
        router.put("/v1/blasts/:blast/attachments/:name") { request, context in
            let caller = try await authenticate(request, .send)
            let files = try attachments(context, caller)
            return try await slots.withSlot(of: caller.district) {
                let content = try await collect(request, upTo: Attachments.octetsMax)
                return try Self.json(
                    try await files.put(
                        Self.fileName(context), type: Self.mediaType(request.headers[.contentType]), content))
            }
        }
        router.delete("/v1/blasts/:blast/attachments/:name") { request, context in
            let caller = try await authenticate(request, .send)
            try await attachments(context, caller).remove(Self.fileName(context))
            return Response(status: .noContent)
        }
    }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    /// One recipient's message. Tracked links stand as they were written, personal ones lead nowhere.
    struct Preview: Encodable, Sendable {
        let blast_id: String
        let recipient_no: Int32
        let to: String
        let name: String?
        let subject: String
        let html: String?
        let text: String?
        let attachments: [String]
        /// Why no message can reach this recipient.
        let fault: String?
        /// How the text is divided when it goes out as a text message.
        let sms: Segments?
    }

    struct Segments: Encodable, Sendable {
        /// `GSM-7` or `UCS-2`.
        let encoding: String
        /// Septets or UTF-16 units.
        let units: Int
        let segments: Int

        init(_ text: String) {
            let divided = TextSegments(text)
            (encoding, units, segments) = (divided.encoding.rawValue, divided.units, divided.count)
        }
    }

    private func preview(_ request: Request, _ context: some RequestContext) async throws -> Response {
        let caller = try await authenticate(request, .send, .read, .admin)
        let blast = try Self.known(Self.blast(context))
        let number = try Self.recipientNumber(context.parameters.get("recipient"))
        let wantsMessage = (request.headers[.accept] ?? "").lowercased().hasPrefix("message/rfc822")
        let found = try await pool.withDistrict(caller.district) { connection in
            let resource = try await BlastStore.read(blast, on: connection)
            var document = try await DraftMessage.document(
                resource, of: blast, district: caller.district, on: connection)
            document.attachments = try await DraftMessage.attachments(of: blast, on: connection)
            guard let found = try await DraftMessage.recipient(number, of: blast, on: connection) else {
                throw IntakeProblems.noSuchRecipient(number, audience: resource.audience)
            }
            return (document, found.recipient, found.fault)
        }
        let (document, recipient, fault) = found
        if wantsMessage {
            return Response(
                status: .ok, headers: [.contentType: "message/rfc822"],
                body: ResponseBody(
                    byteBuffer: ByteBuffer(bytes: try composer.previewOctets(recipient, of: document))))
        }
        let rendered = try composer.preview(recipient, of: document)
        return try Self.json(
            Preview(
                blast_id: blast.description, recipient_no: number, to: recipient.address, name: recipient.name,
                subject: rendered.subject, html: rendered.html, text: rendered.text,
                attachments: document.attachments.map(\.name), fault: fault,
                sms: composer.textMessage(to: recipient, of: document).map { Segments($0) }))
    }

    private func attachments(_ context: some RequestContext, _ caller: Caller) throws -> Attachments {
        Attachments(blast: try Self.known(Self.blast(context)), caller: caller, pool: pool)
    }

    private static func fileName(_ context: some RequestContext) -> String {
        context.parameters.get("name")?.removingPercentEncoding ?? ""
    }

    /// One JSON object a line, as they are found; ends early when the database fails, and then without its last chunk.
    private func dryRun(_ request: Request, _ context: some RequestContext) async throws -> Response {
        let caller = try await authenticate(request, .send, .read, .admin)
        let run = DryRun(blast: try Self.known(Self.blast(context)), caller: caller, pool: pool)
        let basis = try await run.basis()
        return Response(
            status: .ok, headers: [.contentType: "application/x-ndjson"],
            body: ResponseBody { writer in
                var first: Int32 = 1
                while first <= basis.audience {
                    var buffer = ByteBuffer()
                    for line in try await run.lines(from: first, basis) {
                        buffer.writeBytes(try StrictJSON.encode(line))
                        buffer.writeInteger(UInt8(ascii: "\n"))
                    }
                    try await writer.write(buffer)
                    first += DryRun.pageSize
                }
                try await writer.finish(nil)
            })
    }

    private static func recipientNumber(_ text: String?) throws(Problem) -> Int32 {
        guard let number = text.flatMap({ Int32($0) }), number > 0 else {
            throw Problem(
                "no-such-recipient", title: "No such recipient", status: .notFound,
                detail: "Recipients are numbered from 1, in the order of the list.")
        }
        return number
    }

    private func test(_ request: Request, _ context: some RequestContext) async throws -> Response {
        let caller = try await authenticate(request, .send)
        let blast = try Self.known(Self.blast(context))
        try Self.requireJSON(request)
        var reader = MemberReader(try IntakeProblems.object(try await collect(request, upTo: 4096)))
        let destination = reader.destination("to")
        let number = reader.whole("recipient_no", in: 1...Int(Int32.max)) ?? 1
        reader.refuseUnknown()
        guard reader.faults.isEmpty, let destination else { throw IntakeProblems.members(reader.faults) }
        guard limits.hasSMS || destination.channel == .email else {
            throw IntakeProblems.noSMSProvider("Nothing was sent.")
        }
        let message = TestMessage(blast: blast, destination: destination, recipient: Int32(number), caller: caller)
        return try Self.json(try await message.send(composer: composer, pool: pool, handOver: testHandOver))
    }
}

extension IntakeProblems {
    static func noSuchRecipient(_ number: Int32, audience: Int64) -> Problem {
        Problem(
            "no-such-recipient", title: "No such recipient", status: .notFound,
            detail: "The blast has no recipient \(number); its list has \(audience).")
    }
}
