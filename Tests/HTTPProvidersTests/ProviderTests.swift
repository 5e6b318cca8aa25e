import Foundation
import Mail
import NIOCore
import NIOPosix
import Signing
import Synchronization
import TestKit
import Testing

@testable import HTTPProviders

@Suite("Amazon SES and SMS providers", .timeLimit(.minutes(2))) struct ProviderTests {
    private static let text = Array("From: office@school.example\r\nSubject: x\r\n\r\nhello\r\n".utf8)

    private func send(
        to recipient: String, at address: String, key: String = "AKIAEXAMPLE", secret: String = "secret",
        within: Duration = .seconds(20), answerTimeout: Duration = .seconds(20), clock: Int64 = 0,
        ended: @escaping @Sendable () -> Void = {}
    ) async throws -> ProviderOutcome {
        var configuration = SimpleEmailService.Configuration(
            endpoint: try HTTPEndpoint(address), region: "us-east-1",
            credentials: try #require(AWSCredentials(accessKey: key, secret: secret)))
        configuration.configurationSet = "blasts"
        configuration.forwardsFeedback = true
        configuration.answerTimeout = answerTimeout
        let service = SimpleEmailService(
            configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            unixSeconds: { Int64(Date().timeIntervalSince1970) + clock })
        defer { service.close() }
        return await service.send(
            .init(
                from: "office@school.example", returnPath: "b+1@bounce.example", recipient: recipient, tag: "tag-1_x",
                octets: Self.text), deadline: .now + within, beforeEnd: {}, afterEnd: ended)
    }

    private func short(_ outcome: ProviderOutcome) -> String {
        switch outcome {
        case .accepted(let reply): "accepted \(reply)"
        case .rejected(let reply, let isAboutRecipient): "\(isAboutRecipient ? "bounced" : "rejected") \(reply)"
        case .deferred(let reply): "deferred \(reply)"
        case .refusesUs(let reason): "refuses us: \(reason)"
        case .notSent(let reason): "not sent: \(reason)"
        case .inDoubt(let reason): "in doubt: \(reason)"
        }
    }

    @Test func `moto, which checks signatures, takes a signed message octet for octet`() async throws {
        let peers = try await ProviderPeers.shared()
        let recipient = "\(UUID().uuidString.lowercased())@home.example"
        let outcome = try await send(to: recipient, at: peers.ses, key: peers.accessKey, secret: peers.secretKey)
        #expect(short(outcome).hasPrefix("accepted 250 2.0.0 Amazon SES "))
        let mail = try #require(try await peers.mails().first { $0.to == [recipient] })
        #expect(mail.from == "office@school.example" && Array(mail.raw.utf8) == Self.text)
    }

    @Test func `a wrong key is the relay's trouble and nobody's refusal`() async throws {
        let peers = try await ProviderPeers.shared()
        let wrong = try await send(to: "a@home.example", at: peers.ses, key: peers.accessKey, secret: "wrong")
        #expect(short(wrong).hasPrefix("refuses us: Amazon SES "), "\(wrong)")
        let unknown = try await send(to: "a@home.example", at: peers.ses, key: "AKIAUNKNOWN", secret: "x")
        #expect(short(unknown).hasPrefix("refuses us: Amazon SES "), "\(unknown)")
        #expect(try await !peers.mails().contains { $0.to == ["a@home.example"] })
    }

    @Test(arguments: [
        ("throttled", "deferred 421 4.7.0 Amazon SES TooManyRequestsException: Maximum sending rate exceeded."),
        ("rejected", "rejected 554 5.6.0 Amazon SES MessageRejected: Email address is not verified."),
        ("suspended", "refuses us: Amazon SES AccountSuspendedException: no"),
        ("skewed", "refuses us: this machine's clock is wrong; Amazon's is "),
        ("broken", "deferred 451 4.3.0 Amazon SES InternalFailure: oops"),
        ("empty", "in doubt: Amazon SES answered 200 without a MessageId"),
        ("huge", "in doubt: an answer of more than 65536 octets"),
        ("drop", "in doubt: the server closed the connection"), ("fine", "accepted 250 2.0.0 Amazon SES id-fine"),
    ])
    func `what SES answers is told apart`(_ name: String, _ expected: String) async throws {
        let outcome = try await send(to: "\(name)@home.example", at: try await ProviderPeers.shared().scripted)
        #expect(short(outcome).hasPrefix(expected), "\(outcome)")
    }

    @Test(arguments: [
        ("split", "accepted 250 2.0.0 Amazon SES id-raw"), ("continue", "accepted 250 2.0.0 Amazon SES id-raw"),
        ("chunked", "accepted 250 2.0.0 Amazon SES id-raw"), ("twice", "accepted 250 2.0.0 Amazon SES id-raw"),
        ("junk", "in doubt: the answer is not HTTP"), ("cut", "in doubt: the answer broke off"),
        ("cuthead", "in doubt: "), ("headers", "in doubt: the answer is not HTTP"), ("both", "in doubt: "),
        ("list", "in doubt: Amazon SES answered 200 without a MessageId"),
        ("binary", "in doubt: Amazon SES answered 200 without a MessageId"), ("odd", "in doubt: Amazon SES HTTP 299"),
        ("moved", "refuses us: Amazon SES answered 307, a redirect"),
    ])
    func `an answer in any pieces is understood, and one that is cut, oversized or no answer is doubt`(
        _ name: String, _ expected: String
    ) async throws {
        let outcome = try await send(to: "\(name)@home.example", at: try await ProviderPeers.shared().raw)
        #expect(short(outcome).hasPrefix(expected), "\(outcome)")
    }

    @Test func `the request carries the configuration set, the delivery's tag and the return path`() async throws {
        let peers = try await ProviderPeers.shared()
        _ = try await send(to: "tags@home.example", at: peers.scripted)
        let body = try #require(try peers.requests(to: "tags@home.example").first)
        #expect(body["ConfigurationSetName"] as? String == "blasts")
        #expect(body["EmailTags"] as? [[String: String]] == [["Name": "rollcall-delivery", "Value": "tag-1_x"]])
        #expect(body["FeedbackForwardingEmailAddress"] as? String == "b+1@bounce.example")
        #expect(body["FromEmailAddress"] as? String == "office@school.example")
    }

    @Test func `without an answer in time a message is in doubt, and without a connection it is not sent`() async throws
    {
        let peers = try await ProviderPeers.shared()
        let hanging = try await send(
            to: "hang@home.example", at: peers.scripted, answerTimeout: .milliseconds(300))
        #expect(hanging == .inDoubt(reason: "no answer in time"))
        let refused = try await send(to: "a@home.example", at: "http://127.0.0.1:\(try FreePort.take())")
        #expect(short(refused).hasPrefix("not sent: cannot connect to 127.0.0.1:"), "\(refused)")
        let late = try await send(to: "late@home.example", at: peers.scripted, within: .zero)
        #expect(short(late).hasPrefix("not sent: "))
        #expect(try peers.requests(to: "late@home.example").isEmpty)
    }

    @Test func `the last octet waits for the deadline: a message that is late is provably not sent`() async throws {
        // A server that never reads: what does not fit into its buffers stays unwritten.
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.autoRead, value: false).bind(host: "127.0.0.1", port: 0).get()
        let client = HTTPClient(
            try HTTPEndpoint("http://127.0.0.1:\(try #require(server.localAddress?.port))"),
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, limit: 1, answerTimeout: .seconds(20))
        let ends = Mutex(0)
        let exchange = await client.post(
            HTTPRequest(path: "/", headers: [("Host", "x")], body: [UInt8](repeating: 0x61, count: 32 << 20)),
            HTTPPatience(
                deadline: .now + .seconds(3), beforeEnd: { ends.withLock { $0 += 1 } }, afterEnd: {}))
        #expect(exchange == .notSent(reason: "the deadline passed before the last octet"))
        #expect(ends.withLock { $0 } == 0)
        try await eventually("the connection is closed") { client.openConnections == 0 }
        try await server.close()
    }

    private func text(_ number: String, token: String? = nil, _ body: String = "School is closed.") async throws
        -> ProviderOutcome
    {
        let peers = try await ProviderPeers.shared()
        let configuration = try #require(
            TextMessageService.Configuration(
                endpoint: try HTTPEndpoint(peers.scripted), account: peers.account, token: token ?? peers.token,
                sender: .number("+15550100999")))
        let service = TextMessageService(configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
        defer { service.close() }
        return await service.send(body, to: number, deadline: .now + .seconds(20), beforeEnd: {}, afterEnd: {})
    }

    @Test(arguments: [
        ("+15550200123", "accepted 250 2.0.0 SMS provider SM15550200123"),
        ("+15550200211", "bounced 550 5.1.1 SMS provider 21211: Invalid 'To' Phone Number"),
        ("+15550200610", "rejected 550 5.7.1 the recipient has opted out; SMS provider 21610: "),
        ("+15550200429", "deferred 421 4.7.0 SMS provider 20429: Too Many Requests"),
        ("+15550200500", "deferred 451 4.3.0 SMS provider HTTP 500: Internal Server Error"),
        ("+15550200504", "in doubt: the SMS provider answered 504"),
        ("+15550200001", "in doubt: the server closed the connection"),
    ])
    func `what a Twilio-compatible provider answers is told apart`(_ number: String, _ expected: String) async throws {
        #expect(short(try await text(number)).hasPrefix(expected))
    }

    @Test func `a text message arrives as it is, and a wrong token is the provider's trouble`() async throws {
        let peers = try await ProviderPeers.shared()
        let body = "Schule & Caf\u{E9}: 100% = \u{1F600}+\r\nnächste Zeile"
        #expect(short(try await text("+15550200777", body)).hasPrefix("accepted"))
        let request = try #require(try peers.requests(to: "+15550200777").first)
        #expect((request["Body"] as? String).map { Array($0.utf8) } == Array(body.utf8))
        #expect(request["From"] as? String == "+15550100999")
        #expect(short(try await text("+15550200778", token: "x")).hasPrefix("refuses us: SMS provider 20003: "))
    }

    @Test(arguments: [
        ("", "GSM-7", 0, 0), (String(repeating: "a", count: 160), "GSM-7", 160, 1),
        (String(repeating: "a", count: 161), "GSM-7", 161, 2), (String(repeating: "a", count: 306), "GSM-7", 306, 2),
        (String(repeating: "a", count: 307), "GSM-7", 307, 3), ("€", "GSM-7", 2, 1),
        (String(repeating: "€", count: 80), "GSM-7", 160, 1),
        // 153 is odd: a pair is not divided.
        (String(repeating: "€", count: 152), "GSM-7", 304, 2), (String(repeating: "€", count: 153), "GSM-7", 306, 3),
        (String(repeating: "ж", count: 70), "UCS-2", 70, 1), (String(repeating: "ж", count: 71), "UCS-2", 71, 2),
        (String(repeating: "\u{1F600}", count: 35), "UCS-2", 70, 1),
        (String(repeating: "\u{1F600}", count: 66), "UCS-2", 132, 2),
        (String(repeating: "\u{1F600}", count: 67), "UCS-2", 134, 3), ("line\r\nline", "GSM-7", 10, 1),
        ("`", "UCS-2", 1, 1),
    ])
    func `parts of a text message are counted as providers charge them`(
        _ text: String, _ encoding: String, _ units: Int, _ count: Int
    ) {
        let segments = TextSegments(text)
        #expect(segments.encoding.rawValue == encoding && segments.units == units && segments.count == count)
    }

    @Test(arguments: [
        "api.example", "ftp://api.example", "http://", "https://a/b", "http://a:0", "https://a b", "http://a:b:1",
    ])
    func `an address that is none is refused`(_ address: String) {
        #expect(throws: HTTPEndpoint.Fault.self) { try HTTPEndpoint(address) }
    }
}
