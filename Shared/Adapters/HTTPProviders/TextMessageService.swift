import Foundation
import Mail
public import NIOCore

/// Text messages over Twilio's API of 2010-04-01, which several providers speak.
public final class TextMessageService: Sendable {
    public struct Configuration: Sendable, CustomStringConvertible {
        public let endpoint: HTTPEndpoint
        let account: String
        let authorization: String
        let sender: Sender
        /// Where the provider is to report what becomes of a message.
        public var statusCallback: String?
        /// Most requests at once.
        public var connections = 10
        /// How long the answer to a whole request may take; less makes doubt.
        public var answerTimeout: Duration = .seconds(60)

        public enum Sender: Sendable, Equatable {
            /// A telephone number, a short code or a name.
            case number(String)
            /// Picks one of its numbers.
            case service(String)
        }

        /// Nil when the account or the token has characters that cannot stand in a request.
        public init?(endpoint: HTTPEndpoint, account: String, token: String, sender: Sender) {
            let isPlain = { (octet: UInt8) in octet > 0x20 && octet < 0x7F && octet != UInt8(ascii: ":") }
            let isWord = { (octet: UInt8) in
                (0x30...0x39).contains(octet) || (0x61...0x7A).contains(octet | 0x20)
            }
            guard (1...64).contains(account.utf8.count), account.utf8.allSatisfy(isWord),
                (1...255).contains(token.utf8.count), token.utf8.allSatisfy(isPlain)
            else { return nil }
            self.endpoint = endpoint
            self.account = account
            authorization =
                "Basic \(String(decoding: Base64.encode(Array("\(account):\(token)".utf8)[...]), as: UTF8.self))"
            self.sender = sender
        }

        public var description: String { "text messages through \(endpoint.authority)" }
    }

    private let configuration: Configuration
    private let client: HTTPClient

    public init(_ configuration: Configuration, eventLoopGroup: any EventLoopGroup) {
        self.configuration = configuration
        client = HTTPClient(
            configuration.endpoint, eventLoopGroup: eventLoopGroup, limit: configuration.connections,
            answerTimeout: configuration.answerTimeout)
    }

    public var openConnections: Int { client.openConnections }

    /// Hands one message over.
    ///
    /// - Parameters:
    ///   - recipient: in E.164.
    ///   - deadline: the request's last octet is written before it, or never.
    ///   - beforeEnd: called immediately before the last octet; must not block.
    public func send(
        _ text: String, to recipient: String, deadline: ContinuousClock.Instant,
        beforeEnd: @escaping @Sendable () -> Void, afterEnd: @escaping @Sendable () -> Void
    ) async -> ProviderOutcome {
        var form = [("To", recipient)]
        switch configuration.sender {
        case .number(let number): form.append(("From", number))
        case .service(let service): form.append(("MessagingServiceSid", service))
        }
        form.append(("Body", text))
        if let callback = configuration.statusCallback { form.append(("StatusCallback", callback)) }
        let body = form.map { Self.escaped($0.0) + [UInt8(ascii: "=")] + Self.escaped($0.1) }
            .joined(separator: [UInt8(ascii: "&")])
        let exchange = await client.post(
            HTTPRequest(
                path: "/2010-04-01/Accounts/\(configuration.account)/Messages.json",
                headers: [
                    ("Host", configuration.endpoint.authority), ("Authorization", configuration.authorization),
                    ("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json"),
                ], body: Array(body)),
            HTTPPatience(deadline: deadline, beforeEnd: beforeEnd, afterEnd: afterEnd))
        return exchange.outcome(of: "the SMS provider") { TwilioAnswer($0).outcome }
    }

    public func close() { client.close() }

    /// `application/x-www-form-urlencoded`.
    static func escaped(_ text: String) -> [UInt8] {
        let digits = Array("0123456789ABCDEF".utf8)
        return text.utf8.flatMap { octet -> [UInt8] in
            switch octet {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2A, 0x2D, 0x2E, 0x5F: [octet]
            case 0x20: [UInt8(ascii: "+")]
            default: [UInt8(ascii: "%"), digits[Int(octet >> 4)], digits[Int(octet & 15)]]
            }
        }
    }
}

/// What an answer of Twilio's API means.
struct TwilioAnswer {
    private let status: Int
    private let sid: String?
    private let code: Int?
    private let words: String

    init(_ answer: HTTPAnswer) {
        status = answer.status
        let object = (try? JSONSerialization.jsonObject(with: Data(answer.body))) as? [String: Any] ?? [:]
        sid = object["sid"] as? String
        code = object["code"] as? Int
        words = object["message"] as? String ?? ""
    }

    private var said: String {
        "SMS provider \(code.map(String.init) ?? "HTTP \(status)")\(words.isEmpty ? "" : ": \(words)")"
    }

    var outcome: ProviderOutcome {
        if status == 200 || status == 201 {
            guard let sid, !sid.isEmpty else {
                return .inDoubt(reason: "the SMS provider answered \(status) without a sid")
            }
            return .accepted(.provider(250, "2.0.0", "SMS provider \(sid)"))
        }
        if let code, let known = Self.known(code, said) { return known }
        switch status {
        case 401, 403, 404, 405: return .refusesUs(reason: said)
        case 429: return .deferred(.provider(421, "4.7.0", said))
        case 400..<500: return .rejected(.provider(554, "5.0.0", said), isAboutRecipient: false)
        case 500..<600: return .deferred(.provider(451, "4.3.0", said))
        default: return .inDoubt(reason: said)
        }
    }

    /// Codes of Twilio's dictionary of errors.
    private static func known(_ code: Int, _ said: String) -> ProviderOutcome? {
        switch code {
        // No telephone number, or none that takes text messages: 21614 and 30006 are landlines.
        case 21211, 21217, 21614, 30005, 30006:
            .rejected(.provider(550, "5.1.1", said), isAboutRecipient: true)
        // No way from our number to this one; blocked by the carrier.
        case 21612, 30004: .rejected(.provider(550, "5.4.4", said), isAboutRecipient: true)
        // The recipient has answered STOP: known to the provider, no fault of the number's.
        case 21610: .rejected(.provider(550, "5.7.1", "the recipient has opted out; \(said)"), isAboutRecipient: false)
        case 14107, 20429, 21611, 30001, 30022: .deferred(.provider(421, "4.7.0", said))
        case 30003: .deferred(.provider(450, "4.2.1", said))
        // Credentials, a suspended account, a sender that is not ours or cannot send text messages.
        case 20003, 20005, 20404, 21603, 21606, 21659, 21660, 21701, 21703: .refusesUs(reason: said)
        default: nil
        }
    }
}
