internal import NIOCore
internal import NIOSSL

/// Whether and how the connection to a relay is encrypted.
public enum SMTPSecurity: Sendable {
    /// Never: for a relay on this machine or in a trusted network.
    case none
    /// STARTTLS (RFC 3207). When it is not required, a relay that does not offer it gets the messages in clear text; a
    /// handshake that fails is a fault in both cases.
    case startTLS(SMTPTLS, isRequired: Bool)
    /// TLS from the first octet (RFC 8314).
    case implicit(SMTPTLS)
}

/// What a relay's certificate is checked against. Made once, when the settings are read.
///
/// TLS 1.2 or later. The certificate has to lead to a trusted authority and to carry the expected name, unless
/// verification is switched off. Limits: files are read once, so that a new authority needs a restart; no revocation
/// lists, no DANE.
public struct SMTPTLS: Sendable {
    /// Why there can be no TLS with these settings, in words for the operator.
    public struct Fault: Error, Equatable {
        public let reason: String
    }

    /// The name that the certificate must carry; nil for an address, which must be in the certificate itself.
    let serverName: String?
    let context: NIOSSLContext

    /// - Parameters:
    ///   - serverName: the relay's host name, or the other name that its certificate carries.
    ///   - caFile: PEM file with the authorities to trust; nil for those of the system.
    ///   - isVerified: false accepts any certificate, and so any machine in the middle.
    public init(serverName: String, caFile: String? = nil, isVerified: Bool = true) throws(Fault) {
        let name = Array(serverName.utf8)
        guard (1...255).contains(name.count), name.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw Fault(reason: "the name of a certificate is a domain name in ASCII or an IP address")
        }
        let isAddress = serverName.utf8.contains(UInt8(ascii: ":")) || name.allSatisfy { $0 == 0x2E || $0 < 0x3A }
        self.serverName = isAddress ? nil : serverName
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.shutdownTimeout = .seconds(1)
        if !isVerified { configuration.certificateVerification = .none }
        do {
            if let caFile {
                let authorities = try NIOSSLCertificate.fromPEMFile(caFile)
                guard !authorities.isEmpty else { throw Fault(reason: "\(caFile) holds no certificate") }
                configuration.trustRoots = .certificates(authorities)
            }
            context = try NIOSSLContext(configuration: configuration)
        } catch let fault as Fault {
            throw fault
        } catch {
            throw Fault(
                reason: "\(caFile ?? "the system's trusted authorities") cannot be read as PEM certificates")
        }
    }

    func makeHandler() throws -> NIOSSLClientHandler {
        try NIOSSLClientHandler(context: context, serverHostname: serverName)
    }

    /// What went wrong with TLS, without paths of libraries; nil for an error that has nothing to do with it.
    static func reason(for error: any Error, host: String) -> String? {
        switch error {
        case NIOSSLError.handshakeFailed(.sslError(let stack)) where stack == [.eofDuringHandshake]:
            return "the relay ended the connection during the TLS handshake"
        case NIOSSLError.handshakeFailed(let cause):
            let text = "\(cause)"
            if text.contains("CERTIFICATE_VERIFY_FAILED") {
                return "relay certificate not trusted: it does not lead to a trusted authority or is out of date"
            }
            if text.contains("WRONG_VERSION_NUMBER") {
                return "the TLS handshake failed: the relay does not speak TLS here"
            }
            return "the TLS handshake failed: \(Self.words(of: text))"
        case is NIOSSLExtraError, NIOSSLError.unableToValidateCertificate, NIOSSLError.noCertificateToValidate:
            return "relay certificate not trusted: it is not for \(host)"
        case NIOSSLError.uncleanShutdown: return "the server ended the connection without ending TLS"
        case is NIOSSLError: return "TLS failed: \(error)"
        default: return nil
        }
    }

    /// The upper-case words that OpenSSL's family has for faults.
    private static func words(of text: String) -> String {
        let words = text.split { !($0 == "_" || $0.isASCII && ($0.isUppercase || $0.isNumber)) }
            .filter { $0.utf8.count > 5 && $0.contains("_") && !$0.allSatisfy(\.isNumber) }
        return words.first.map(String.init) ?? "no reason was given"
    }
}

/// A user name and password for AUTH. Never part of a description.
public struct SMTPCredentials: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible {
    let user: String
    let password: String

    /// Nil unless both are given, without NUL, and of at most 255 octets.
    public init?(user: String, password: String) {
        for text in [user, password] {
            guard (1...255).contains(text.utf8.count), !text.utf8.contains(0) else { return nil }
        }
        self.user = user
        self.password = password
    }

    public var description: String { "(credentials)" }
    public var debugDescription: String { description }
}
