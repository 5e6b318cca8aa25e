import Foundation
import Runtime
import SMTP
import Testing

@testable import sender

@Suite("Relay settings")
struct RelaySettingsTests {
    private func relays(_ environment: [String: String]) throws -> [RelayConfiguration] {
        let settings = try Settings(
            declared: RelaySettings.declared,
            environment: Dictionary(uniqueKeysWithValues: environment.map { ("ROLLCALL_SMTP_\($0.key)", $0.value) }))
        return try RelaySettings.relays(settings) { $0.heloName = "me.example" }
    }

    private func complaint(_ environment: [String: String]) -> String {
        do {
            _ = try relays(environment)
            return "none"
        } catch {
            return "\(error)"
        }
    }

    private func mode(_ relay: RelayConfiguration) -> String {
        switch relay.smtp.security {
        case .none: "none"
        case .startTLS(_, let isRequired): isRequired ? "required" : "offered"
        case .implicit: "implicit"
        }
    }

    @Test func `without a list there is one relay, as it always was`() throws {
        let relays = try relays(["HOST": "mail.example", "PORT": "2525", "CONNECTIONS": "7"])
        #expect(relays.map(\.name) == ["mail.example:2525"])
        #expect(relays[0].smtp.maxConnections == 7 && relays[0].weight == 1 && mode(relays[0]) == "none")
        #expect(relays[0].smtp.credentials == nil && relays[0].smtp.fault == nil)
    }

    @Test func `a list says what differs, and the other settings fill in the rest`() throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "rollcall-\(UUID().uuidString).secret")
        try "geheim\r\n".write(to: file, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(at: file) }
        let relays = try relays([
            "PORT": "587", "TLS": "starttls-required", "USER": "u", "PASSWORD": "p",
            "RELAYS": "host=mx1.example weight=3, name=spare host=mx2.example port=465 tls=implicit connections=5 "
                + "connection.messages=20 user=other password.file=\(file.path)",
        ])
        #expect(relays.map(\.name) == ["mx1.example:587", "spare"])
        #expect(relays.map(\.weight) == [3, 1] && relays.map(\.smtp.maxConnections) == [10, 5])
        #expect(relays.map(\.smtp.maxMessagesPerConnection) == [1000, 20])
        #expect(relays.map(mode) == ["required", "implicit"] && relays.map(\.smtp.port) == [587, 465])
        #expect(relays[0].smtp.credentials == SMTPCredentials(user: "u", password: "p"))
        #expect(relays[1].smtp.credentials == SMTPCredentials(user: "other", password: "geheim"))
    }

    @Test(arguments: [
        (
            ["RELAYS": "host=a.example wait=3"],
            "smtp.relays, relay 1: \"wait\" is not one of connection.messages=…, connections=…"
        ),
        (["RELAYS": "host=a.example, port=3"], "smtp.relays, relay 2: host=… is missing"),
        (["RELAYS": "host=a.example host=b.example"], "smtp.relays, relay 1: host is given twice"),
        (["RELAYS": "host=a.example port=70000"], "port: \"70000\" is not a whole number, 1 to 65535"),
        (
            ["RELAYS": "host=a.example connection.messages=0"],
            "connection.messages: \"0\" is not a whole number, 1 to 1000000"
        ),
        (["RELAYS": "host=a.example weight=0"], "weight: a whole number, 1 to 1000, is expected"),
        (["RELAYS": "host=a.example tls=maybe"], "tls: \"maybe\" is not one of none, starttls"),
        (["RELAYS": "host=a.example, host=a.example"], "relay 2: name: a.example:25 is another relay's already"),
        (["RELAYS": "host=a.example tls=implicit tls.ca.file=/nowhere"], "tls: /nowhere cannot be read"),
        (["USER": "u"], "smtp: password: user u needs a password"),
        (["PASSWORD": "p"], "smtp: user: there is a password and no user name"),
        (["USER": "u", "PASSWORD.FILE": "x"], "ROLLCALL_SMTP_PASSWORD.FILE"),
        (["USER": "u", "PASSWORD_FILE": "/nowhere"], "smtp: password.file: /nowhere cannot be read"),
        (["USER": "u", "PASSWORD": "p"], "smtp: credentials: they need TLS"),
        (["TLS": "yes"], "smtp.tls: \"yes\" from the environment variable ROLLCALL_SMTP_TLS is not one of none"),
    ])
    func `a mistake is named with its relay, its word and what to write`(
        _ environment: [String: String], _ words: String
    ) {
        let complaint = complaint(environment)
        #expect(complaint.contains(words), "\(complaint)")
    }

    @Test func `passwords are never printed`() throws {
        let settings = try Settings(
            declared: RelaySettings.declared,
            environment: [
                "ROLLCALL_SMTP_USER": "u", "ROLLCALL_SMTP_PASSWORD": "geheim", "ROLLCALL_SMTP_TLS": "implicit",
            ])
        #expect(!settings.printed().contains("geheim"))
        let relays = try RelaySettings.relays(settings) { $0.heloName = "me.example" }
        #expect(!"\(relays)".contains("geheim") && !String(reflecting: relays).contains("geheim"))
    }
}
