import Mail

/// How to reach one SMTP relay, and how patient to be with it.
public struct SMTPConfiguration: Sendable {
    public var host: String
    public var port: Int
    /// The name given with EHLO: this machine's full domain name, or an address literal.
    public var heloName: String
    public var security = SMTPSecurity.none
    /// Given once the connection is encrypted, to a relay that offers AUTH PLAIN or LOGIN.
    public var credentials: SMTPCredentials?
    /// Lets the credentials go over a connection that is not encrypted.
    public var allowsClearTextCredentials = false
    public var connectTimeout: Duration = .seconds(30)
    /// How long a reply to one command, or the write of the message text, may take (RFC 5321 §4.5.3.2: 5 minutes).
    public var commandTimeout: Duration = .seconds(300)
    /// How long the reply to the final dot may take. Less than RFC 5321's 10 minutes creates doubt by itself.
    public var dotReplyTimeout: Duration = .seconds(600)
    /// How long an unused connection is kept.
    public var idleTimeout: Duration = .seconds(60)
    public var maxConnections: Int = 10
    /// After so many messages a connection is replaced, which spreads load behind a balancer.
    public var maxMessagesPerConnection: Int = 1000

    public init(host: String, port: Int, heloName: String) {
        self.host = host
        self.port = port
        self.heloName = heloName
    }

    /// The first setting that cannot work, as a sentence with the setting's name, or nil.
    public var fault: String? {
        if host.isEmpty || headerFault(in: host) != nil { return "host: a host name or an IP address is needed" }
        if !(1...65_535).contains(port) { return "port: \(port) is not within 1 to 65535" }
        let name = Array(heloName.utf8)
        let isName = (1...255).contains(name.count) && name.allSatisfy { $0 > 0x20 && $0 < 0x7F }
        if !isName { return "heloName: a domain name in ASCII without spaces is needed" }
        if credentials != nil, !allowsClearTextCredentials, case .none = security {
            return "credentials: they need TLS, or the explicit permission to go out in clear text"
        }
        if maxConnections < 1 { return "maxConnections: at least 1 is needed" }
        if maxMessagesPerConnection < 1 { return "maxMessagesPerConnection: at least 1 is needed" }
        let times = [
            ("connectTimeout", connectTimeout), ("commandTimeout", commandTimeout),
            ("dotReplyTimeout", dotReplyTimeout), ("idleTimeout", idleTimeout),
        ]
        for (setting, time) in times where time <= .zero { return "\(setting): more than 0 is needed" }
        return nil
    }

    var policy: SMTPSession.Policy {
        let encryption: SMTPSession.Policy.Encryption =
            switch security {
            case .none: .never
            case .startTLS(_, let isRequired): isRequired ? .required : .whenOffered
            case .implicit: .fromStart
            }
        return SMTPSession.Policy(
            encryption: encryption, credentials: credentials, allowsClearTextCredentials: allowsClearTextCredentials)
    }

    var tls: SMTPTLS? {
        switch security {
        case .none: nil
        case .startTLS(let tls, _), .implicit(let tls): tls
        }
    }
}
