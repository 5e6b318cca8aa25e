/// The status code of RFC 3463: class.subject.detail.
public struct EnhancedStatusCode: Hashable, Sendable, CustomStringConvertible {
    public let statusClass: Int
    public let subject: Int
    public let detail: Int

    public init(_ statusClass: Int, _ subject: Int, _ detail: Int) {
        self.statusClass = statusClass
        self.subject = subject
        self.detail = detail
    }

    /// Reads `5.1.1`: class 2, 4 or 5, then two numbers of one to three digits. Nil for anything else.
    public init?(_ text: some StringProtocol) { self.init(octets: text.utf8) }

    init?(octets: some Sequence<UInt8>) {
        var (statusClass, subject) = (0, 0)
        var (part, number, digits) = (0, 0, 0)
        for octet in octets {
            if ASCII.isDigit(octet), digits < 3 {
                number = number * 10 + Int(octet - 0x30)
                digits += 1
                continue
            }
            guard octet == UInt8(ascii: "."), digits > 0 else { return nil }
            switch part {
            case 0 where digits == 1: statusClass = number
            case 1: subject = number
            default: return nil
            }
            (part, number, digits) = (part + 1, 0, 0)
        }
        guard part == 2, digits > 0, statusClass == 2 || statusClass == 4 || statusClass == 5 else { return nil }
        self.init(statusClass, subject, number)
    }

    public var description: String { "\(statusClass).\(subject).\(detail)" }
}

/// One complete reply of an SMTP server.
public struct SMTPReply: Equatable, Sendable, CustomStringConvertible {
    public let code: Int
    /// Present when the first line starts with one and its class agrees with the code.
    public let enhanced: EnhancedStatusCode?
    /// What follows the code on each line; control characters are shown as `?`, broken UTF-8 is replaced.
    public let lines: [String]
    /// True for an answer that our own side gave because the server could not have taken the message.
    public let isLocal: Bool

    public init(code: Int, lines: [String], isLocal: Bool = false) {
        self.code = code
        self.lines = lines
        self.isLocal = isLocal
        enhanced = Self.leadingCode(of: lines.first ?? "", code: code)
    }

    /// The lines as one, without the enhanced code that each may repeat.
    public var text: String {
        lines.map { line in
            guard enhanced != nil, Self.leadingCode(of: line, code: code) != nil else { return line }
            return String(line.drop { $0 != " " }.dropFirst())
        }.joined(separator: " ")
    }

    public var isPositive: Bool { code / 100 == 2 }
    public var isTransient: Bool { code / 100 == 4 }
    public var isPermanent: Bool { code / 100 == 5 }

    public var description: String { "\(code) " + lines.joined(separator: " ") }

    private static func leadingCode(of line: String, code: Int) -> EnhancedStatusCode? {
        guard let first = line.utf8.first, Int(first) - 0x30 == code / 100 else { return nil }
        let found = EnhancedStatusCode(octets: line.utf8.prefix { $0 != 0x20 })
        return found?.statusClass == code / 100 ? found : nil
    }
}

/// The step of an SMTP dialogue at which something happened.
public enum SMTPStage: String, Sendable, CaseIterable {
    case connect, greeting, hello
    /// STARTTLS and the handshake.
    case tls
    case auth, mail, recipient, data
    /// The text of the message, before its final dot.
    case body
    /// The final dot has been handed to the network.
    case dot
}
