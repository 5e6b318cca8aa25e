import Foundation
import Runtime
import SMTP

/// The settings of the SMTP relays: either one, or a list whose items say what is different about each.
enum RelaySettings {
    static let host = Setting<String>.string(
        "smtp.host", default: "127.0.0.1", doc: "SMTP relay, when smtp.relays names none")
    static let port = Setting<Int>.int("smtp.port", default: 25, in: 1...65535, doc: "port of the SMTP relay")
    static let connections = Setting<Int>.int(
        "smtp.connections", default: 10, in: 1...1000,
        doc: "connections to a relay; all together are the most messages that a killed process leaves in doubt")
    static let connectionMessages = Setting<Int>.int(
        "smtp.connection.messages", default: 1000, in: 1...1_000_000,
        doc: "messages after which a connection is replaced; set it below a relay's own limit")
    static let security = Setting<String>.string(
        "smtp.tls", default: "none", oneOf: ["none", "starttls", "starttls-required", "implicit"],
        doc: "encryption: none for a relay in a trusted network, starttls when the relay offers it")
    static let caFile = Setting<String?>.optionalString(
        "smtp.tls.ca.file", doc: "PEM file of the authorities to trust instead of the system's")
    static let certificateName = Setting<String?>.optionalString(
        "smtp.tls.name", doc: "name that the relay's certificate carries when it is not the host's")
    static let isVerified = Setting<Bool>.bool(
        "smtp.tls.verify", default: true, doc: "false accepts any certificate, and so any machine in the middle")
    static let user = Setting<String?>.optionalString("smtp.user", doc: "user name for AUTH; leave out for none")
    static let password = Setting<String?>.optionalSecret("smtp.password", doc: "password for AUTH")
    static let passwordFile = Setting<String?>.optionalString(
        "smtp.password.file", doc: "file that holds the password for AUTH, instead of smtp.password")
    static let clearTextAuth = Setting<Bool>.bool(
        "smtp.auth.cleartext", default: false, doc: "true lets the password go over a connection without TLS")
    static let relays = Setting<[String]>.list(
        "smtp.relays", default: [],
        doc: "several relays, each as words such as host=mx1.example port=587 weight=3, with name, connections, "
            + "connection.messages, tls, tls.ca.file, tls.name, tls.verify, user and password.file; the smtp settings fill in the rest"
    )

    static let declared: [any DeclaredSetting] = [
        host, port, connections, connectionMessages, security, caFile, certificateName, isVerified, user, password,
        passwordFile,
        clearTextAuth, relays,
    ]

    /// - Parameter finish: sets what all relays share.
    static func relays(
        _ settings: Settings, finish: (inout SMTPConfiguration) -> Void
    ) throws(ConfigurationError) -> [RelayConfiguration] {
        let items = settings[relays]
        if items.isEmpty { return [try RelayWords([:], "smtp", settings).relay(finish)] }
        var relays: [RelayConfiguration] = []
        for (index, item) in items.enumerated() {
            let words = try RelayWords(item: item, "smtp.relays, relay \(index + 1)", settings)
            let relay = try words.relay(finish)
            guard !relays.contains(where: { $0.name.utf8.elementsEqual(relay.name.utf8) }) else {
                throw words.fault("name", "\(relay.name) is another relay's already; give each its own with name=…")
            }
            relays.append(relay)
        }
        return relays
    }
}

/// One relay as its item says it, and the settings it falls back on.
private struct RelayWords {
    private static let known: Set<String> = [
        "name", "host", "port", "weight", "connections", "connection.messages", "tls", "tls.ca.file", "tls.name",
        "tls.verify", "user",
        "password.file",
    ]

    private let words: [String: String]
    private let subject: String
    private let settings: Settings

    init(_ words: [String: String], _ subject: String, _ settings: Settings) {
        self.words = words
        self.subject = subject
        self.settings = settings
    }

    init(item: String, _ subject: String, _ settings: Settings) throws(ConfigurationError) {
        var words: [String: String] = [:]
        for word in item.split(separator: " ") {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, Self.known.contains(parts[0]), !parts[1].isEmpty else {
                throw ConfigurationError(
                    subject: subject,
                    explanation: "\"\(parts[0])\" is not one of "
                        + Self.known.sorted().map { "\($0)=…" }.joined(separator: ", "))
            }
            guard words.updateValue(parts[1], forKey: parts[0]) == nil else {
                throw ConfigurationError(subject: subject, explanation: "\(parts[0]) is given twice")
            }
        }
        guard words["host"] != nil else {
            throw ConfigurationError(subject: subject, explanation: "host=… is missing")
        }
        self.init(words, subject, settings)
    }

    func relay(_ finish: (inout SMTPConfiguration) -> Void) throws(ConfigurationError) -> RelayConfiguration {
        let host = words["host"] ?? settings[RelaySettings.host]
        let port = try value(RelaySettings.port, "port")
        var smtp = SMTPConfiguration(host: host, port: port, heloName: "")
        smtp.maxConnections = try value(RelaySettings.connections, "connections")
        smtp.maxMessagesPerConnection = try value(RelaySettings.connectionMessages, "connection.messages")
        smtp.security = try security(host)
        smtp.credentials = try credentials()
        smtp.allowsClearTextCredentials = settings[RelaySettings.clearTextAuth]
        finish(&smtp)
        if let problem = smtp.fault { throw ConfigurationError(subject: subject, explanation: problem) }
        let weight = words["weight"].map { Int($0) ?? 0 } ?? 1
        guard (1...1000).contains(weight) else { throw fault("weight", "a whole number, 1 to 1000, is expected") }
        return RelayConfiguration(name: words["name"] ?? "\(host):\(port)", weight: weight, smtp: smtp)
    }

    func fault(_ word: String, _ explanation: String) -> ConfigurationError {
        ConfigurationError(subject: subject, explanation: "\(word): \(explanation)")
    }

    /// The item's own value, which has to be as good as the setting's.
    private func value<Value: Sendable>(
        _ setting: Setting<Value>, _ word: String
    ) throws(ConfigurationError) -> Value {
        guard let text = words[word] else { return settings[setting] }
        guard let own = setting.value(of: text) else {
            throw fault(word, "\"\(text)\" is not \(setting.expectation)")
        }
        return own
    }

    private func security(_ host: String) throws(ConfigurationError) -> SMTPSecurity {
        let mode = try value(RelaySettings.security, "tls")
        if mode == "none" { return .none }
        let tls: SMTPTLS
        do {
            tls = try SMTPTLS(
                serverName: try value(RelaySettings.certificateName, "tls.name") ?? host,
                caFile: try value(RelaySettings.caFile, "tls.ca.file"),
                isVerified: try value(RelaySettings.isVerified, "tls.verify"))
        } catch let problem as SMTPTLS.Fault {
            throw fault("tls", problem.reason)
        } catch let error as ConfigurationError {
            throw error
        } catch {
            throw fault("tls", "\(error)")
        }
        return mode == "implicit" ? .implicit(tls) : .startTLS(tls, isRequired: mode == "starttls-required")
    }

    private func credentials() throws(ConfigurationError) -> SMTPCredentials? {
        let file = try value(RelaySettings.passwordFile, "password.file")
        guard let user = try value(RelaySettings.user, "user") else {
            if file == nil, settings[RelaySettings.password] == nil { return nil }
            throw fault("user", "there is a password and no user name for it")
        }
        let password = try file.map(read) ?? settings[RelaySettings.password]
        guard let password, let credentials = SMTPCredentials(user: user, password: password) else {
            throw fault("password", "user \(user) needs a password of at most 255 octets, without NUL")
        }
        return credentials
    }

    private func read(_ path: String) throws(ConfigurationError) -> String {
        guard let secret = SecretFile.read(path) else { throw fault("password.file", "\(path) cannot be read") }
        return secret
    }
}
