import Foundation
import HTTPProviders
import Runtime
import Signing

/// Amazon SES beside the SMTP relays, or instead of them.
struct SESRelay: Sendable {
    let weight: Int
    let configuration: SimpleEmailService.Configuration
}

/// The settings of the providers that are reached over HTTP.
enum ProviderSettings {
    static let emailVia = Setting<[String]>.list(
        "sender.email.via", default: ["smtp"],
        doc: "what e-mail goes out through: smtp (the relays of the smtp settings), ses, or both, shared by weight")
    static let sesRegion = Setting<String?>.optionalString("ses.region", doc: "region of Amazon SES, as in us-east-1")
    static let sesEndpoint = Setting<String?>.optionalString(
        "ses.endpoint", doc: "address of the SES API when it is not the region's own")
    static let sesAccessKey = Setting<String?>.optionalString("ses.access.key", doc: "access key id for SES")
    static let sesSecretKey = Setting<String?>.optionalSecret("ses.secret.key", doc: "secret access key for SES")
    static let sesSecretKeyFile = Setting<String?>.optionalString(
        "ses.secret.key.file", doc: "file that holds the secret access key, instead of ses.secret.key")
    static let sesSessionToken = Setting<String?>.optionalSecret(
        "ses.session.token", doc: "session token that belongs to temporary keys")
    static let sesConfigurationSet = Setting<String?>.optionalString(
        "ses.configuration.set", doc: "configuration set whose event destinations get what becomes of messages")
    static let sesFeedback = Setting<Bool>.bool(
        "ses.feedback.forwarding", default: false,
        doc: "true lets SES send bounces and complaints by mail to the return path too; its domain must be verified")
    static let sesConnections = Setting<Int>.int(
        "ses.connections", default: 10, in: 1...1000, doc: "most messages at SES at once")
    static let sesWeight = Setting<Int>.int(
        "ses.weight", default: 1, in: 1...1000, doc: "share of SES beside the weights of the SMTP relays")
    static let sesCAFile = Setting<String?>.optionalString(
        "ses.tls.ca.file", doc: "PEM file of the authorities to trust for SES instead of the system's")
    static let smsEndpoint = Setting<String>.string(
        "sms.endpoint", default: "https://api.twilio.com", doc: "address of the Twilio-compatible SMS API")
    static let smsAccount = Setting<String?>.optionalString(
        "sms.account", doc: "account SID at the SMS provider; leave out when no text messages are sent")
    static let smsToken = Setting<String?>.optionalSecret("sms.token", doc: "auth token at the SMS provider")
    static let smsTokenFile = Setting<String?>.optionalString(
        "sms.token.file", doc: "file that holds the auth token, instead of sms.token")
    static let smsFrom = Setting<String?>.optionalString(
        "sms.from", doc: "our number or short code; or give sms.service")
    static let smsService = Setting<String?>.optionalString(
        "sms.service", doc: "messaging service SID that picks the number; or give sms.from")
    static let smsStatusCallback = Setting<String?>.optionalString(
        "sms.status.callback", doc: "address that the SMS provider reports to")
    static let smsConnections = Setting<Int>.int(
        "sms.connections", default: 10, in: 1...1000, doc: "most text messages at the SMS provider at once")
    static let smsCAFile = Setting<String?>.optionalString(
        "sms.tls.ca.file", doc: "PEM file of the authorities to trust for the SMS provider instead of the system's")

    static let declared: [any DeclaredSetting] = [
        emailVia, sesRegion, sesEndpoint, sesAccessKey, sesSecretKey, sesSecretKeyFile, sesSessionToken,
        sesConfigurationSet, sesFeedback, sesConnections, sesWeight, sesCAFile, smsEndpoint, smsAccount, smsToken,
        smsTokenFile, smsFrom, smsService, smsStatusCallback, smsConnections, smsCAFile,
    ]

    /// Whether e-mail goes over the SMTP relays.
    static func usesSMTP(_ settings: Settings) throws(ConfigurationError) -> Bool {
        let names = Set(settings[emailVia])
        guard !names.isEmpty, names.isSubset(of: ["smtp", "ses"]) else {
            throw ConfigurationError(
                subject: emailVia.key, explanation: "a comma-separated list of smtp and ses is expected")
        }
        return names.contains("smtp")
    }

    static func ses(_ settings: Settings, answerTimeout: Duration) throws(ConfigurationError) -> SESRelay? {
        guard settings[emailVia].contains("ses") else { return nil }
        guard let region = settings[sesRegion], region.utf8.allSatisfy(Self.isNamePart) else {
            throw ConfigurationError(
                subject: sesRegion.key, explanation: "a region such as us-east-1 is needed for SES")
        }
        let endpoint = try endpoint(
            settings[sesEndpoint] ?? "https://email.\(region).amazonaws.com", sesEndpoint.key, settings[sesCAFile])
        let secret = try secret(settings, sesSecretKey, sesSecretKeyFile)
        guard let key = settings[sesAccessKey], let secret,
            let credentials = AWSCredentials(
                accessKey: key, secret: secret, sessionToken: settings[sesSessionToken])
        else {
            throw ConfigurationError(
                subject: sesAccessKey.key,
                explanation: "SES needs ses.access.key and ses.secret.key (or ses.secret.key.file), without spaces")
        }
        var configuration = SimpleEmailService.Configuration(
            endpoint: endpoint, region: region, credentials: credentials)
        configuration.configurationSet = settings[sesConfigurationSet]
        configuration.forwardsFeedback = settings[sesFeedback]
        configuration.connections = settings[sesConnections]
        configuration.answerTimeout = answerTimeout
        return SESRelay(weight: settings[sesWeight], configuration: configuration)
    }

    static func sms(
        _ settings: Settings, answerTimeout: Duration
    ) throws(ConfigurationError) -> TextMessageService.Configuration? {
        guard let account = settings[smsAccount] else { return nil }
        let sender: TextMessageService.Configuration.Sender
        switch (settings[smsFrom], settings[smsService]) {
        case (let number?, nil): sender = .number(number)
        case (nil, let service?): sender = .service(service)
        default:
            throw ConfigurationError(
                subject: smsFrom.key, explanation: "either sms.from or sms.service is needed, and not both")
        }
        let endpoint = try endpoint(settings[smsEndpoint], smsEndpoint.key, settings[smsCAFile])
        guard let token = try secret(settings, smsToken, smsTokenFile),
            var configuration = TextMessageService.Configuration(
                endpoint: endpoint, account: account, token: token, sender: sender)
        else {
            throw ConfigurationError(
                subject: smsToken.key,
                explanation:
                    "sms.account (letters and digits) needs sms.token or sms.token.file, without spaces or colons")
        }
        configuration.statusCallback = settings[smsStatusCallback]
        configuration.connections = settings[smsConnections]
        configuration.answerTimeout = answerTimeout
        return configuration
    }

    private static func isNamePart(_ octet: UInt8) -> Bool {
        (0x61...0x7A).contains(octet) || (0x30...0x39).contains(octet) || octet == 0x2D
    }

    private static func endpoint(
        _ address: String, _ key: String, _ caFile: String?
    ) throws(ConfigurationError) -> HTTPEndpoint {
        do {
            return try HTTPEndpoint(address, caFile: caFile)
        } catch {
            throw ConfigurationError(subject: key, explanation: error.reason)
        }
    }

    private static func secret(
        _ settings: Settings, _ value: Setting<String?>, _ file: Setting<String?>
    ) throws(ConfigurationError) -> String? {
        guard let path = settings[file] else { return settings[value] }
        guard let secret = SecretFile.read(path) else {
            throw ConfigurationError(subject: file.key, explanation: "\(path) cannot be read")
        }
        return secret
    }
}

/// A secret in a file of its own, without the line end that editors put there.
enum SecretFile {
    /// Nil when it cannot be read.
    static func read(_ path: String) -> String? {
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        var octets = Array(data)
        while octets.last == 0x0A || octets.last == 0x0D { octets.removeLast() }
        return String(decoding: octets, as: UTF8.self)
    }
}
