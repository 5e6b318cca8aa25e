import Foundation
import NIOPosix
import Signing
import TestKit
import Testing

@testable import HTTPProviders

@Suite("Providers over HTTPS", .timeLimit(.minutes(2))) struct HTTPSTests {
    struct Case: Sendable, CustomTestStringConvertible {
        /// The certificate that the server shows.
        let server: String
        /// Nil when the message arrives.
        let refusal: String?
        var host = "localhost"
        /// Nil for those of the system.
        var authority: String? = "ca"

        var testDescription: String { "\(server) as \(host), trusting \(authority ?? "the system's")" }
    }

    private static let untrusted = "the certificate does not lead to a trusted authority or is out of date"
    private static let elsewhere = "the certificate is not for this host"
    static let cases = [
        Case(server: "good", refusal: nil), Case(server: "good", refusal: nil, host: "127.0.0.1"),
        Case(server: "good", refusal: untrusted, authority: "other-ca"),
        Case(server: "good", refusal: untrusted, authority: nil), Case(server: "wrong", refusal: elsewhere),
        Case(server: "wrong", refusal: elsewhere, host: "127.0.0.1"), Case(server: "expired", refusal: untrusted),
        Case(server: "early", refusal: untrusted), Case(server: "old", refusal: "the TLS handshake failed"),
        Case(server: "plain", refusal: "the TLS handshake failed"),
    ]

    private static func endpoint(_ given: Case, _ peers: ProviderPeers) throws -> HTTPEndpoint {
        let port =
            try given.server == "plain"
            ? peers.scripted.split(separator: ":").last.map(String.init) ?? ""
            : "\(peers.securePort(given.server))"
        return try HTTPEndpoint("https://\(given.host):\(port)", caFile: given.authority.map { peers.authority($0) })
    }

    private static func mail(
        to recipient: String, at endpoint: HTTPEndpoint, _ peers: ProviderPeers
    ) async throws -> ProviderOutcome {
        let service = SimpleEmailService(
            .init(
                endpoint: endpoint, region: "us-east-1",
                credentials: try #require(AWSCredentials(accessKey: peers.accessKey, secret: peers.secretKey))),
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            unixSeconds: { Int64(Date().timeIntervalSince1970) })
        defer { service.close() }
        return await service.send(
            .init(
                from: "office@school.example", returnPath: "b+1@bounce.example", recipient: recipient, tag: nil,
                octets: Array("Subject: x\r\n\r\nhello\r\n".utf8)), deadline: .now + .seconds(20), beforeEnd: {},
            afterEnd: {})
    }

    private static func text(
        to number: String, at endpoint: HTTPEndpoint, _ peers: ProviderPeers
    ) async throws -> ProviderOutcome {
        let service = TextMessageService(
            try #require(
                .init(endpoint: endpoint, account: peers.account, token: peers.token, sender: .number("+15550100999"))),
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
        defer { service.close() }
        return await service.send("hello", to: number, deadline: .now + .seconds(20), beforeEnd: {}, afterEnd: {})
    }

    @Test(arguments: cases)
    func `a server that cannot prove who it is gets neither key nor message, and the message counts as not sent`(
        _ given: Case
    ) async throws {
        let peers = try await ProviderPeers.shared()
        let endpoint = try Self.endpoint(given, peers)
        let address = "\(UUID().uuidString.lowercased())@home.example"
        let number = "+1555\(UInt32.random(in: 1_000_000...9_999_999))777"
        for (recipient, outcome) in [
            (address, try await Self.mail(to: address, at: endpoint, peers)),
            (number, try await Self.text(to: number, at: endpoint, peers)),
        ] {
            let arrived = try peers.requests(to: recipient).count
            if let refusal = given.refusal {
                #expect(outcome == .notSent(reason: refusal) && arrived == 0, "\(outcome)")
            } else {
                guard case .accepted = outcome else {
                    Issue.record("\(outcome)")
                    continue
                }
                #expect(arrived == 1)
            }
        }
    }

    @Test func `moto takes a signed message over TLS octet for octet`() async throws {
        let peers = try await ProviderPeers.shared()
        let recipient = "\(UUID().uuidString.lowercased())@home.example"
        let endpoint = try Self.endpoint(Case(server: "ses", refusal: nil), peers)
        let outcome = try await Self.mail(to: recipient, at: endpoint, peers)
        guard case .accepted = outcome else {
            Issue.record("\(outcome)")
            return
        }
        let mail = try #require(try await peers.mails().first { $0.to == [recipient] })
        #expect(Array(mail.raw.utf8) == Array("Subject: x\r\n\r\nhello\r\n".utf8))
    }

    @Test(arguments: [("/nowhere.pem", "/nowhere.pem"), (#filePath, "PEM")])
    func `a file of authorities that cannot be used is named`(_ file: String, _ word: String) {
        do throws(HTTPEndpoint.Fault) {
            _ = try HTTPEndpoint("https://api.example", caFile: file)
            Issue.record("\(file) was taken")
        } catch {
            #expect(error.reason.contains(word), "\(error.reason)")
        }
    }
}
