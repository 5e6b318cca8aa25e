import Foundation
import Mail
import TestKit
import Testing

@testable import SMTP

@Suite("SMTP against aiosmtpd", .timeLimit(.minutes(2)))
struct SMTPPeerTests {
    private static let stages = [
        ("greeting", "greeting"), ("ehlo", "hello"), ("mail", "mail"), ("rcpt", "recipient"), ("data", "data"),
        ("dot", "dot"),
    ]

    /// The outcome that the documentation promises for each kind of reply at each stage.
    private static func outcome(_ kind: String, at stage: String) -> String {
        switch (kind, stage) {
        case ("421", _), ("451", _): "deferred@\(stage)"
        // A server that does not know EHLO is greeted with HELO.
        case ("554", "hello"): "accepted"
        case ("554", "greeting"): "deferred@greeting"
        case ("554", _): "rejected@\(stage)"
        case (_, "dot"): "in doubt"
        default: "deferred@\(stage)"
        }
    }

    private static let kinds = [
        "421", "451", "554", "drop", "long", "endless", "mixed", "junk", "barecr", "binary",
    ]

    @Test func `every nasty reply has its documented outcome, and none makes a message arrive that is called unsent`()
        async throws
    {
        let peers = try await MailPeers.shared()
        // Those that fall silent afterwards: each is given the time of one answer, and the servers are one process.
        for kinds in [Self.kinds, ["silent"]] {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for stage in Self.stages {
                    for kind in kinds { group.addTask { try await check(kind, stage, peers) } }
                }
                try await group.waitForAll()
            }
        }
    }

    private func check(_ kind: String, _ stage: (server: String, name: String), _ peers: MailPeers) async throws {
        var configuration = try peers.configuration("\(stage.server)-\(kind)")
        if kind == "silent" {
            // Long enough for the stages before.
            if stage.name != "dot" { configuration.commandTimeout = .seconds(5) }
            configuration.dotReplyTimeout = .seconds(1)
        }
        let attempt = Attempt()
        let outcome = await attempt.run(configuration)
        #expect(outcome.short == Self.outcome(kind, at: stage.name), "\(kind): \(outcome)")
        guard stage.name == "dot" || outcome.short == "accepted" else {
            #expect(try peers.received(from: attempt.sender).isEmpty, "\(kind)")
            return
        }
        // Who gives up waiting for the answer may be faster than the server is.
        try await eventually("\(kind): the server has it") { try !peers.received(from: attempt.sender).isEmpty }
        #expect(try peers.received(from: attempt.sender).count == 1, "\(kind)")
    }

    @Test(arguments: ["split", "several", "noehlo", "bare", "plain"])
    func `a reply cut at every octet, of several lines, without EHLO or extensions is understood, and the text arrives`(
        _ server: String
    ) async throws {
        let peers = try await MailPeers.shared()
        let attempt = Attempt()
        #expect(await attempt.run(try peers.configuration(server)).short == "accepted")
        let received = try peers.received(from: attempt.sender)
        #expect(received.map { Array($0.content) } == [attempt.text])
        #expect(received.first?.isSecure == false)
    }

    @Test func `an address outside ASCII goes to a server with SMTPUTF8 and is refused here for any other`()
        async throws
    {
        let peers = try await MailPeers.shared()
        let attempt = Attempt(recipient: "josé@home.example", text: Array("To: josé@home.example\r\n\r\nx\r\n".utf8))
        #expect(await attempt.run(try peers.configuration("plain")).short == "accepted")
        let received = try #require(try peers.received(from: attempt.sender).first)
        #expect(received.to == "josé@home.example" && received.options.contains("SMTPUTF8"))
        #expect(received.options.contains("BODY=8BITMIME") && Array(received.content) == attempt.text)
        let refused = await attempt.run(try peers.configuration("ascii"))
        #expect(refused.short == "rejected@mail" && refused.reason.contains("needs SMTPUTF8"))
        #expect(try peers.received(from: attempt.sender).count == 1)
    }

    @Test func `a domain outside ASCII goes as its A-labels to a server without SMTPUTF8`() async throws {
        let peers = try await MailPeers.shared()
        let attempt = Attempt(recipient: try EmailAddress(parsing: "jane@bücher.例え.example").wireForm)
        #expect(await attempt.run(try peers.configuration("ascii")).short == "accepted")
        let received = try #require(try peers.received(from: attempt.sender).first)
        #expect(received.to == "jane@xn--bcher-kva.xn--r8jz45g.example")
        #expect(!received.options.contains("SMTPUTF8"))
    }

    @Test func `a text that the server says is too large is not offered to it`() async throws {
        let peers = try await MailPeers.shared()
        let attempt = Attempt(text: Array("A: \(String(repeating: "x", count: 200))\r\n".utf8))
        let outcome = await attempt.run(try peers.configuration("small"))
        #expect(outcome.short == "rejected@mail" && outcome.reason.contains("the server takes 100"))
    }
}

@Suite("SMTP with TLS and AUTH", .timeLimit(.minutes(2)))
struct SMTPSecurityTests {
    enum Mode: Sendable {
        case none, offered, required, implicit
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let server: String
        let mode: Mode
        let outcome: String
        var isSecure = true
        var host = "localhost"
        var name = "localhost"
        var authority = "ca"
        var isVerified = true
        var words = ""

        var testDescription: String { "\(server), \(mode), \(host), \(authority): \(outcome)" }
    }

    static let cases = [
        Case(server: "starttls", mode: .required, outcome: "accepted"),
        Case(server: "starttls", mode: .offered, outcome: "accepted"),
        Case(server: "implicit", mode: .implicit, outcome: "accepted"),
        Case(server: "starttls", mode: .required, outcome: "accepted", host: "127.0.0.1", name: "127.0.0.1"),
        Case(server: "starttls", mode: .required, outcome: "accepted", host: "127.0.0.1", name: "relay.test"),
        Case(server: "plain", mode: .offered, outcome: "accepted", isSecure: false),
        Case(server: "refusedtls", mode: .offered, outcome: "accepted", isSecure: false),
        Case(server: "wrongname", mode: .required, outcome: "accepted", isVerified: false),
        Case(server: "plain", mode: .required, outcome: "deferred@tls", words: "does not offer STARTTLS"),
        Case(server: "refusedtls", mode: .required, outcome: "deferred@tls", words: "refused STARTTLS"),
        Case(server: "plain", mode: .implicit, outcome: "deferred@tls", words: "does not speak TLS here"),
        Case(server: "starttls", mode: .none, outcome: "deferred@auth", words: "STARTTLS"),
        Case(
            server: "starttls", mode: .required, outcome: "deferred@tls", authority: "other-ca",
            words: "relay certificate not trusted"),
        Case(
            server: "starttls", mode: .offered, outcome: "deferred@tls", authority: "other-ca",
            words: "relay certificate not trusted"),
        Case(
            server: "implicit", mode: .implicit, outcome: "deferred@tls", authority: "other-ca",
            words: "relay certificate not trusted"),
        Case(
            server: "wrongname", mode: .required, outcome: "deferred@tls",
            words: "relay certificate not trusted: it is not for localhost"),
        Case(
            server: "wrongname", mode: .required, outcome: "deferred@tls", host: "127.0.0.1", name: "127.0.0.1",
            words: "relay certificate not trusted: it is not for 127.0.0.1"),
        Case(server: "injected", mode: .required, outcome: "deferred@tls", words: "clear text after its answer"),
        Case(server: "injected", mode: .offered, outcome: "deferred@tls", words: "clear text after its answer"),
        Case(server: "cutinjected", mode: .required, outcome: "deferred@tls", words: "clear text after its answer"),
        Case(server: "lateinjected", mode: .required, outcome: "deferred@tls"),
    ]

    @Test(arguments: cases)
    func `the connection is as secure as the settings say, or carries nothing`(_ given: Case) async throws {
        let peers = try await MailPeers.shared()
        var configuration = try peers.configuration(given.server, host: given.host)
        let tls = try peers.tls(given.name, authority: given.authority, isVerified: given.isVerified)
        configuration.security =
            switch given.mode {
            case .none: .none
            case .offered: .startTLS(tls, isRequired: false)
            case .required: .startTLS(tls, isRequired: true)
            case .implicit: .implicit(tls)
            }
        // Only one of the servers falls silent.
        if given.server == "lateinjected" { configuration.commandTimeout = .seconds(5) }
        let attempt = Attempt()
        let outcome = await attempt.run(configuration)
        #expect(
            outcome.short == given.outcome && (given.words.isEmpty || outcome.reason.contains(given.words)),
            "\(outcome)")
        #expect(!outcome.reason.contains("/"), "no paths of libraries: \(outcome.reason)")
        let received = try peers.received(from: attempt.sender)
        #expect(received.map(\.isSecure) == (given.outcome == "accepted" ? [given.isSecure] : []))
        #expect(received.allSatisfy { Array($0.content) == attempt.text })
    }

    @Test(arguments: [
        ("login", "pass=word", "accepted", ""), ("loginonly", "pass=word", "accepted", ""),
        ("login", "wrong", "deferred@auth", "refused the credentials: 535"),
        ("loginonly", "wrong", "deferred@auth", "refused the credentials: 535"),
        ("noauth", "pass=word", "deferred@auth", "neither AUTH PLAIN nor AUTH LOGIN"),
        ("login", "", "deferred@auth", "wants authentication or TLS: 530"),
    ])
    func `AUTH PLAIN and LOGIN open the relay, and a refusal is the relay's trouble`(
        _ server: String, _ password: String, _ expected: String, _ words: String
    ) async throws {
        let peers = try await MailPeers.shared()
        var configuration = try peers.configuration(server, host: "localhost")
        configuration.security = .startTLS(try peers.tls(), isRequired: true)
        configuration.credentials = SMTPCredentials(user: "usér", password: password)
        let attempt = Attempt()
        let outcome = await attempt.run(configuration)
        #expect(outcome.short == expected && (words.isEmpty || outcome.reason.contains(words)), "\(outcome)")
        #expect(try peers.received(from: attempt.sender).map(\.login) == (expected == "accepted" ? ["usér"] : []))
        #expect(!"\(configuration)".contains("pass=word"))
    }

    @Test func `a password goes over clear text only with permission`() async throws {
        let peers = try await MailPeers.shared()
        var configuration = try peers.configuration("clearlogin")
        configuration.credentials = SMTPCredentials(user: "usér", password: "pass=word")
        #expect(configuration.fault?.hasPrefix("credentials:") == true)
        configuration.security = .startTLS(try peers.tls(), isRequired: false)
        let refused = await Attempt().run(configuration)
        #expect(refused.short == "deferred@auth" && refused.reason.contains("the credentials were not sent"))
        configuration.allowsClearTextCredentials = true
        configuration.security = .none
        #expect(configuration.fault == nil)
        #expect(await Attempt().run(configuration).short == "accepted")
    }

    @Test func `settings for TLS that cannot work are named`() throws {
        for (name, file, word) in [
            ("localhost", "/nowhere.crt", "/nowhere.crt"), ("localhost", #filePath, "PEM"), ("", nil, "domain name"),
        ] {
            do throws(SMTPTLS.Fault) {
                _ = try SMTPTLS(serverName: name, caFile: file)
                Issue.record("\(name) \(file ?? "") was taken")
            } catch {
                #expect(error.reason.contains(word), "\(error.reason)")
            }
        }
    }
}
