/// Builds replies from the octets of a server, however the network cut them.
///
/// Lines may end with CR LF or with LF alone. Anything else that is not a reply (a lone CR, a line without a code,
/// codes that differ within one reply, more than 2048 octets or 100 lines) is a fault; the parser stays at that
/// fault, since nothing that follows can be matched with a command.
public struct SMTPReplyParser: Sendable {
    public enum Fault: Error, Equatable, Sendable {
        case lineTooLong
        case tooManyLines
        case mixedCodes(Int, Int)
        case malformedLine(String)

        public var reason: String {
            switch self {
            case .lineTooLong: "the server sent a reply line of more than \(SMTPReplyParser.longestLine) octets"
            case .tooManyLines: "the server sent a reply of more than \(SMTPReplyParser.mostLines) lines"
            case .mixedCodes(let first, let second):
                "the server mixed the codes \(first) and \(second) in one reply"
            case .malformedLine(let line): "the server sent a line that is no SMTP reply: \(line)"
            }
        }
    }

    public static let longestLine = 2_048
    public static let mostLines = 100

    private var line: [UInt8] = []
    private var lines: [String] = []
    private var code = 0
    private var fault: Fault?

    public init() {}

    /// True between the first octet of a reply and its end.
    public var isInsideReply: Bool { !line.isEmpty || !lines.isEmpty }

    /// Takes one octet; returns the reply it completes.
    public mutating func consume(_ octet: UInt8) throws(Fault) -> SMTPReply? {
        if let fault { throw fault }
        guard octet == 0x0A else {
            guard line.count < Self.longestLine else { throw stop(.lineTooLong) }
            line.append(octet)
            return nil
        }
        if line.last == 0x0D { line.removeLast() }
        defer { line.removeAll(keepingCapacity: true) }
        return try endLine()
    }

    /// Takes octets up to the end of a reply or of `octets`; returns the reply they complete. The rest is left.
    public mutating func consume(_ octets: inout ArraySlice<UInt8>) throws(Fault) -> SMTPReply? {
        if let fault { throw fault }
        while !octets.isEmpty {
            let end = octets.firstIndex(of: 0x0A) ?? octets.endIndex
            guard line.count + (end - octets.startIndex) <= Self.longestLine else { throw stop(.lineTooLong) }
            line.append(contentsOf: octets[..<end])
            guard end < octets.endIndex else {
                octets = []
                return nil
            }
            octets = octets[(end + 1)...]
            if let reply = try consume(0x0A) { return reply }
        }
        return nil
    }

    /// Takes many octets; returns every reply they complete.
    public mutating func consume(_ octets: some Sequence<UInt8>) throws(Fault) -> [SMTPReply] {
        var rest = Array(octets)[...]
        var replies: [SMTPReply] = []
        while let reply = try consume(&rest) { replies.append(reply) }
        return replies
    }

    private mutating func endLine() throws(Fault) -> SMTPReply? {
        guard line.count >= 3, line[..<3].allSatisfy(ASCII.isDigit), (0x32...0x35).contains(line[0]),
            line.count == 3 || line[3] == UInt8(ascii: " ") || line[3] == UInt8(ascii: "-"), !line.contains(0x0D)
        else { throw stop(.malformedLine(Self.shown(line.prefix(80)))) }
        let number = line[..<3].reduce(0) { $0 * 10 + Int($1 - 0x30) }
        guard lines.isEmpty || number == code else { throw stop(.mixedCodes(code, number)) }
        guard lines.count < Self.mostLines else { throw stop(.tooManyLines) }
        code = number
        lines.append(Self.shown(line.dropFirst(4)))
        guard line.count == 3 || line[3] == UInt8(ascii: " ") else { return nil }
        defer { lines = [] }
        return SMTPReply(code: code, lines: lines)
    }

    private mutating func stop(_ fault: Fault) -> Fault {
        self.fault = fault
        return fault
    }

    private static func shown(_ octets: ArraySlice<UInt8>) -> String {
        if octets.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) { return String(decoding: octets, as: UTF8.self) }
        return shown(replacing: octets)
    }

    private static func shown(replacing octets: ArraySlice<UInt8>) -> String {
        String(decoding: octets.map { $0 < 0x20 || $0 == 0x7F ? UInt8(ascii: "?") : $0 }, as: UTF8.self)
    }
}
