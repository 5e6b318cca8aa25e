import Contracts
import Delivery
import HTTPTypes
import Hummingbird
import Kafka
import NIOCore
import Runtime
import Signing

/// `POST /webhooks/standard`: signed reports of a provider, answered 2xx only once the broker has them.
///
/// The signature is checked over the raw body before anything of it is read. What a provider may repeat later is
/// answered 503, never 403 or 406, after which some providers stop.
struct WebhookRoute: Sendable {
    static let bodyMax = 1 << 20
    static let eventsMax = 2000
    /// All bodies being worked on together.
    private static let bodiesMax = 16 << 20
    private static let reasonsMax = 20

    let webhook: StandardWebhook
    let tokens: TokenKeys
    let publisher: EventPublisher
    let metrics: IngesterMetrics
    private let bodies = Budget(bodiesMax)

    init(webhook: StandardWebhook, tokens: TokenKeys, publisher: EventPublisher, metrics: IngesterMetrics) {
        self.webhook = webhook
        self.tokens = tokens
        self.publisher = publisher
        self.metrics = metrics
    }

    func add(to router: Router<ServiceRequestContext>) {
        router.post("webhooks/standard") { request, _ in try await answer(request) }
    }

    private func answer(_ request: Request) async throws -> Response {
        var held = 0
        defer { bodies.giveBack(held) }
        let body = try await read(request, held: &held)
        guard isSigned(request.headers, body) else { throw Self.unauthorized }
        let events: [ArraySlice<UInt8>]
        do throws(ContractError) {
            events = try WebhookBatch.events(in: body)
        } catch {
            throw Problem(
                "malformed-batch", title: "Malformed batch", status: .badRequest,
                detail: "Expected {\"events\":[…]}, but \(error.reason).")
        }
        guard events.count <= Self.eventsMax else {
            throw Problem(
                "too-many-events", title: "Too many events", status: .contentTooLarge,
                detail: "A request may carry \(Self.eventsMax) events; this one carries \(events.count). Split it.")
        }
        return try await take(events)
    }

    private func take(_ events: [ArraySlice<UInt8>]) async throws -> Response {
        let now = WallClock.nowMicroseconds()
        var records: [ProducerRecord] = []
        records.reserveCapacity(events.count)
        var kinds: [String: Int] = [:]
        var rejected = 0
        var reasons: [Answer.Reason] = []
        for (index, slice) in events.enumerated() {
            // A picture asked for meanwhile must not wait for two thousand events.
            if index % 16 == 15 { await Task.yield() }
            let octets = Array(slice)
            do throws(ContractError) {
                let event = try WebhookEvent(octets, tokens: tokens, nowMicroseconds: now)
                kinds[event.kind.rawValue, default: 0] += 1
                records.append(try record(event.event))
            } catch {
                rejected += 1
                if reasons.count < Self.reasonsMax { reasons.append(.init(index: index, reason: error.reason)) }
                records.append(Self.parked(octets, reason: error.reason, nowMicroseconds: now))
            }
        }
        do {
            try await publisher.publish(records)
        } catch {
            for (kind, count) in kinds { metrics.count(kind, .unacknowledged, by: count) }
            throw error
        }
        FaultPoint.reach("ingester.after-ack")
        for (kind, count) in kinds { metrics.count(kind, .accepted, by: count) }
        if rejected > 0 { metrics.count("unusable", .parked, by: rejected) }
        let answer = Answer(accepted: events.count - rejected, rejected: rejected, reasons: reasons)
        return Response(
            status: .accepted, headers: [.contentType: "application/json"],
            body: .init(byteBuffer: ByteBuffer(bytes: try StrictJSON.encode(answer))))
    }

    private struct Answer: Encodable {
        struct Reason: Encodable {
            let index: Int
            let reason: String
        }
        let accepted: Int
        let rejected: Int
        let reasons: [Reason]
    }

    // MARK: The request

    private func read(_ request: Request, held: inout Int) async throws -> [UInt8] {
        if let encoding = request.headers[.contentEncoding], encoding.lowercased() != "identity" {
            throw Problem(
                "content-encoding", title: "Encoded body", status: .unsupportedMediaType,
                detail: "Send the body without Content-Encoding.")
        }
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > Self.bodyMax {
            throw Self.tooLarge
        }
        var body: [UInt8] = []
        for try await chunk in request.body {
            let size = chunk.readableBytes
            guard body.count + size <= Self.bodyMax else { throw Self.tooLarge }
            guard bodies.take(size) else {
                throw Problem.unavailable(detail: "Too many requests are in hand. Send this one again later.")
            }
            held += size
            body.append(contentsOf: chunk.readableBytesView)
        }
        // A deadline may have ended the body early.
        try Task.checkCancellation()
        return body
    }

    private func isSigned(_ headers: HTTPFields, _ body: [UInt8]) -> Bool {
        guard let id = headers[.webhookID], let timestamp = headers[.webhookTimestamp],
            let signatures = headers[.webhookSignature]
        else { return false }
        return webhook.verify(
            id: id, timestamp: timestamp, signatures: signatures, body: body,
            nowSeconds: WallClock.nowMicroseconds() / 1_000_000)
    }

    private static let unauthorized = Problem(
        "unauthorized", title: "Unauthorized", status: .unauthorized,
        headers: [.wwwAuthenticate: "Standard-Webhooks"])
    private static let tooLarge = Problem(
        "too-large", title: "Content too large", status: .contentTooLarge,
        detail: "A request body may have \(bodyMax) octets. Send the events in several requests.")

    // MARK: The records

    private func record(_ event: DeliveryEvent) throws(ContractError) -> ProducerRecord {
        do { return try ProducerRecord(event) } catch { throw ContractError("the event cannot be written as JSON") }
    }

    /// An unusable event for somebody to look at. The same octets always have the same id.
    private static func parked(_ octets: [UInt8], reason: String, nowMicroseconds: Int64) -> ProducerRecord {
        ProducerRecord(
            DeadLetter(
                origin: "webhook/standard", digest: Hexadecimal.string(SHA256Digest.of(octets)), value: octets,
                reason: reason, source: "/rollcall/event-ingester", atMicroseconds: nowMicroseconds))
    }
}

extension HTTPField.Name {
    fileprivate static let webhookID = Self("webhook-id")!
    fileprivate static let webhookTimestamp = Self("webhook-timestamp")!
    fileprivate static let webhookSignature = Self("webhook-signature")!
}
