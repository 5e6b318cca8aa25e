import Contracts
import Delivery
import Signing

/// An event as a provider reports it.
struct WebhookEvent: Sendable, Hashable {
    enum Kind: String, Sendable, CaseIterable {
        case sent, delivered, delayed, bounced, complained, autoresponded
        case optedOut = "opted_out"
    }

    static let idOctetsMax = 150
    /// 2020-01-01T00:00:00Z.
    private static let earliestMicroseconds: Int64 = 1_577_836_800_000_000
    private static let aheadMicroseconds: Int64 = 86_400_000_000

    let kind: Kind
    let event: DeliveryEvent

    /// - Parameter octets: one element of `events`.
    /// - Throws: why the event cannot be used, in words that quote nothing of it but member names.
    init(_ octets: [UInt8], tokens: TokenKeys, nowMicroseconds: Int64) throws(ContractError) {
        let body = try StrictJSON.decode(Body.self, from: octets)
        guard (1...Self.idOctetsMax).contains(body.id.utf8.count),
            body.id.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else { throw ContractError("id is not 1 to \(Self.idOctetsMax) visible ASCII characters") }
        guard let kind = Kind(rawValue: body.type) else {
            throw ContractError("type is none of \(Kind.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        guard let token = tokens.verify(body.delivery), token.purpose == .delivery else {
            throw ContractError("delivery is not the value of a header X-Rollcall-Delivery of ours")
        }
        guard let occurredAt = Timestamp.microseconds(body.occurredAt) else {
            throw ContractError("occurred_at is not an RFC 3339 time")
        }
        guard occurredAt >= Self.earliestMicroseconds else { throw ContractError("occurred_at is before 2020") }
        guard occurredAt <= nowMicroseconds + Self.aheadMicroseconds else {
            throw ContractError("occurred_at is more than a day in the future")
        }
        self.kind = kind
        event = DeliveryEvent(
            id: "webhook/\(body.id)", source: "/rollcall/event-ingester", delivery: token.delivery,
            district: token.district, fact: Self.fact(kind, enhancedCode: body.enhancedCode),
            occurredAtMicroseconds: occurredAt, evidence: Self.evidence(body))
    }

    private struct Body: Decodable {
        let id: String
        let type: String
        let delivery: String
        let occurredAt: String
        let smtpCode: Int?
        let enhancedCode: String?
        let detail: String?

        enum CodingKeys: String, CodingKey {
            case id, type, delivery, detail
            case occurredAt = "occurred_at"
            case smtpCode = "smtp_code"
            case enhancedCode = "enhanced_code"
        }
    }

    private static func fact(_ kind: Kind, enhancedCode: String?) -> DeliveryFact {
        switch kind {
        case .sent: .sent
        case .delivered: .delivered
        case .delayed: .delayed
        case .bounced: isAddressFault(enhancedCode) ? .bouncedInvalid : .bounced
        case .complained: .complained
        case .optedOut: .optedOut
        case .autoresponded: .autoresponded
        }
    }

    /// 5.1.x and 5.2.1 (mailbox disabled) name the address; 5.1.5 says it is valid, and 5.1.7 to 5.1.9 are about ours.
    private static func isAddressFault(_ enhancedCode: String?) -> Bool {
        let parts = (enhancedCode ?? "").utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
            .map { UInt16(String(Substring($0))) }
        guard parts.count == 3, parts[0] == 5, let detail = parts[2] else { return false }
        return parts[1] == 1 ? ![5, 7, 8, 9].contains(detail) : parts[1] == 2 && detail == 1
    }

    private static func evidence(_ body: Body) -> String {
        let codes = [body.smtpCode.map(String.init), body.enhancedCode].compactMap { $0 }.joined(separator: " ")
        let detail = body.detail ?? ""
        let text = detail.hasPrefix(codes) ? detail : codes + (detail.isEmpty ? "" : " ") + detail
        return PlainText.line(text, octets: DeliveryEvent.evidenceMaxOctets)
    }
}
