import NIOCore
import NIOSSL

/// Where the API of a provider is, and how it is reached. Made once, when the settings are read.
///
/// TLS 1.2 or later; the certificate has to lead to a trusted authority and to carry the host's name.
public struct HTTPEndpoint: Sendable {
    /// Why the address cannot be used, in words for the operator.
    public struct Fault: Error, Equatable {
        public let reason: String
    }

    public let host: String
    public let port: Int
    /// What the `Host` header says.
    public let authority: String
    let context: NIOSSLContext?

    /// - Parameters:
    ///   - address: `https://host` or `http://host:port`, without a path.
    ///   - caFile: PEM file with the authorities to trust; nil for those of the system.
    public init(_ address: String, caFile: String? = nil) throws(Fault) {
        let wrong = Fault(reason: "an address such as https://api.example or http://127.0.0.1:5000 is expected")
        let isEncrypted: Bool
        if address.hasPrefix("https://") {
            isEncrypted = true
        } else if address.hasPrefix("http://") {
            isEncrypted = false
        } else {
            throw wrong
        }
        var rest = address.dropFirst(isEncrypted ? 8 : 7)
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        let parts = rest.split(separator: ":", omittingEmptySubsequences: false)
        let isName = { (octet: UInt8) in
            (0x61...0x7A).contains(octet | 0x20) || (0x30...0x39).contains(octet) || octet == 0x2D || octet == 0x2E
        }
        guard (1...2).contains(parts.count), (1...253).contains(parts[0].utf8.count),
            parts[0].utf8.allSatisfy(isName)
        else { throw wrong }
        let standard = isEncrypted ? 443 : 80
        guard let port = parts.count == 2 ? Int(parts[1]) : standard, (1...65_535).contains(port) else { throw wrong }
        host = String(parts[0])
        self.port = port
        authority = port == standard ? host : "\(host):\(port)"
        context = isEncrypted ? try Self.context(caFile) : nil
    }

    private static func context(_ caFile: String?) throws(Fault) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        configuration.shutdownTimeout = .seconds(1)
        do {
            if let caFile {
                configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(caFile))
            }
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw Fault(reason: "\(caFile ?? "the system's trusted authorities") cannot be read as PEM certificates")
        }
    }

    func makeHandler() throws -> NIOSSLClientHandler? {
        guard let context else { return nil }
        let isAddress = host.utf8.allSatisfy { $0 == 0x2E || (0x30...0x39).contains($0) }
        return try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : host)
    }
}
