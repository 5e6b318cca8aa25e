import Foundation
import Mail
public import NIOCore
public import Signing

/// Amazon SES, API version 2: `SendEmail` with a whole message.
///
/// Every message carries the tag `rollcall-delivery`, which Amazon repeats in each of its events. An answer that says
/// nothing usable about a request which went out whole is doubt, never a refusal.
public final class SimpleEmailService: Sendable {
    public struct Configuration: Sendable {
        public let endpoint: HTTPEndpoint
        public let signature: AWSSignature
        public var configurationSet: String?
        /// Lets Amazon send notices of bounces and complaints to the message's return path as well.
        public var forwardsFeedback = false
        /// Most requests at once.
        public var connections = 10
        /// How long the answer to a whole request may take; less makes doubt.
        public var answerTimeout: Duration = .seconds(60)

        public init(endpoint: HTTPEndpoint, region: String, credentials: AWSCredentials) {
            self.endpoint = endpoint
            signature = AWSSignature(credentials: credentials, region: region, service: "ses")
        }
    }

    public struct Message: Sendable {
        /// Nil leaves it to the message's own header.
        public let from: String?
        public let returnPath: String
        public let recipient: String
        /// Letters, digits, `-` and `_`, at most 256; nil for a message of nobody's delivery.
        public let tag: String?
        public let octets: [UInt8]

        public init(from: String?, returnPath: String, recipient: String, tag: String?, octets: [UInt8]) {
            self.from = from
            self.returnPath = returnPath
            self.recipient = recipient
            self.tag = tag
            self.octets = octets
        }
    }

    static let path = "/v2/email/outbound-emails"

    private let configuration: Configuration
    private let client: HTTPClient
    private let unixSeconds: @Sendable () -> Int64

    /// - Parameter unixSeconds: the time that requests are signed with.
    public init(
        _ configuration: Configuration, eventLoopGroup: any EventLoopGroup, unixSeconds: @escaping @Sendable () -> Int64
    ) {
        self.configuration = configuration
        self.unixSeconds = unixSeconds
        client = HTTPClient(
            configuration.endpoint, eventLoopGroup: eventLoopGroup, limit: configuration.connections,
            answerTimeout: configuration.answerTimeout)
    }

    public var openConnections: Int { client.openConnections }

    /// Hands one message over.
    ///
    /// - Parameters:
    ///   - deadline: the request's last octet is written before it, or never.
    ///   - beforeEnd: called immediately before the last octet; must not block.
    public func send(
        _ message: Message, deadline: ContinuousClock.Instant, beforeEnd: @escaping @Sendable () -> Void,
        afterEnd: @escaping @Sendable () -> Void
    ) async -> ProviderOutcome {
        let body: [UInt8]
        do {
            body = try Self.body(message, configuration)
        } catch {
            return .rejected(.provider(554, "5.6.0", "the request cannot be built: \(error)"), isAboutRecipient: false)
        }
        let headers = configuration.signature.signed(
            "POST", path: Self.path,
            headers: [("Host", configuration.endpoint.authority), ("Content-Type", "application/json")], body: body,
            unixSeconds: unixSeconds())
        let exchange = await client.post(
            HTTPRequest(path: Self.path, headers: headers, body: body),
            HTTPPatience(deadline: deadline, beforeEnd: beforeEnd, afterEnd: afterEnd))
        return exchange.outcome(of: "Amazon SES") { SESAnswer($0).outcome }
    }

    public func close() { client.close() }

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    private struct Request: Encodable {
        struct Destination: Encodable { let ToAddresses: [String] }
        struct Raw: Encodable { let Data: String }
        struct Content: Encodable { let Raw: Raw }
        struct Tag: Encodable {
            let Name: String
            let Value: String
        }
        let FromEmailAddress: String?
        let Destination: Destination
        let Content: Content
        let ConfigurationSetName: String?
        let FeedbackForwardingEmailAddress: String?
        let EmailTags: [Tag]?
    }

    private static func body(_ message: Message, _ configuration: Configuration) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes]
        return Array(
            try encoder.encode(
                Request(
                    FromEmailAddress: message.from, Destination: .init(ToAddresses: [message.recipient]),
                    Content: .init(
                        Raw: .init(Data: String(decoding: Base64.encode(message.octets[...]), as: UTF8.self))),
                    ConfigurationSetName: configuration.configurationSet,
                    FeedbackForwardingEmailAddress: configuration.forwardsFeedback ? message.returnPath : nil,
                    EmailTags: message.tag.map { [.init(Name: "rollcall-delivery", Value: $0)] })))
    }
}

/// What an answer of SES means.
struct SESAnswer {
    private let status: Int
    private let messageID: String?
    /// `MessageRejected`, for example; empty when none is given.
    private let type: String
    private let words: String
    private let date: String?

    init(_ answer: HTTPAnswer) {
        status = answer.status
        date = answer.headers["date"]
        let object = (try? JSONSerialization.jsonObject(with: Data(answer.body))) as? [String: Any] ?? [:]
        messageID = object["MessageId"] as? String
        let named = answer.headers["x-amzn-errortype"] ?? object["__type"] as? String ?? object["code"] as? String ?? ""
        // As in com.amazon#MessageRejected:http://…
        type = String((named.split(separator: "#").last ?? "").prefix { $0 != ":" })
        words = object["message"] as? String ?? object["Message"] as? String ?? ""
    }

    private var said: String {
        "Amazon SES \(type.isEmpty ? "HTTP \(status)" : type)\(words.isEmpty ? "" : ": \(words)")"
    }

    var outcome: ProviderOutcome {
        if status == 200 {
            guard let messageID, !messageID.isEmpty else {
                return .inDoubt(reason: "Amazon SES answered 200 without a MessageId")
            }
            return .accepted(.provider(250, "2.0.0", "Amazon SES \(messageID)"))
        }
        if isAboutClock {
            let theirs = date.map { "; Amazon's is \($0)" } ?? ""
            return .refusesUs(reason: "this machine's clock is wrong\(theirs): \(said)")
        }
        switch type {
        case "TooManyRequestsException", "ThrottlingException", "Throttling":
            return .deferred(.provider(421, "4.7.0", said))
        case "LimitExceededException": return .deferred(.provider(451, "4.3.2", said))
        case "AccountSuspendedException", "SendingPausedException", "NotFoundException":
            return .refusesUs(reason: said)
        case "MessageRejected", "BadRequestException", "MailFromDomainNotVerifiedException":
            return .rejected(.provider(554, "5.6.0", said), isAboutRecipient: false)
        default: break
        }
        switch status {
        case 401, 403, 404, 405: return .refusesUs(reason: said)
        case 429: return .deferred(.provider(421, "4.7.0", said))
        case 413: return .rejected(.provider(552, "5.3.4", said), isAboutRecipient: false)
        case 400..<500: return .rejected(.provider(554, "5.6.0", said), isAboutRecipient: false)
        case 500..<600: return .deferred(.provider(451, "4.3.0", said))
        default: return .inDoubt(reason: said)
        }
    }

    private var isAboutClock: Bool {
        type == "RequestTimeTooSkewed" || type == "RequestExpired"
            || status == 403 && (words.contains("Signature expired") || words.contains("Signature not yet current"))
    }
}
