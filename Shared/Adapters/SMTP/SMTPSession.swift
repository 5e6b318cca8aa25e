import Mail

/// The client's side of one SMTP connection as a value: it holds no socket, clock or buffer, so that every combination
/// of state and input can be tried in a test. `SMTPSession+StateMachine.swift` has the transitions.
///
/// Two laws hold over all inputs: every `deliver` gets exactly one `finish`, and `writeDot` is asked for only after a
/// 354 and `bodyWritten(inTime: true)`. An outcome is in doubt exactly when `writeDot` was asked for and no usable
/// reply came.
struct SMTPSession: Sendable {
    enum State: Equatable, Sendable {
        case greeting
        case ehlo
        case helo
        case ready
        case mail(Transaction)
        case recipient(Transaction)
        case data(Transaction)
        case body
        case final
        /// A refusal came while replies to pipelined commands are still on their way.
        case draining(replies: Int, SMTPOutcome)
        case reset(SMTPOutcome)
        case quitting
        case closed
    }

    struct Transaction: Equatable, Sendable {
        let mail: String
        let recipient: String
        let isPipelined: Bool
    }

    /// What the session has to know of a message; the text itself stays with the shell.
    struct Message: Sendable {
        let envelope: SMTPEnvelope
        let octets: Int
        let hasHighOctets: Bool
        let hasHighOctetsInHeader: Bool
    }

    struct Extensions: Equatable, Sendable {
        var pipelining = false
        var eightBitMIME = false
        var smtpUTF8 = false
        var size = false
        /// Nil when the server states no limit.
        var largestMessage: Int?
    }

    enum Input: Sendable {
        case reply(SMTPReply)
        case malformed(reason: String)
        case closed(reason: String)
        case timedOut(reason: String)
        case deliver(Message)
        case bodyWritten(inTime: Bool)
        case quit
    }

    enum Action: Equatable, Sendable {
        case send(String)
        case writeBody
        case writeDot
        /// The connection can take messages now.
        case opened
        /// The connection never got that far.
        case refused(SMTPOutcome)
        /// The connection can take the next message.
        case release
        /// The result of the present delivery. `isStale` means that a kept connection had ended before the server
        /// answered anything about this message.
        case finish(SMTPOutcome, isStale: Bool)
        case close
    }

    enum Waiting: Sendable {
        case command, dotReply, reset, idle
    }

    let heloName: String
    var state = State.greeting
    var extensions = Extensions()

    init(heloName: String) {
        self.heloName = heloName
    }

    var isClosed: Bool {
        if case .closed = state { true } else { false }
    }

    /// Which time limit applies now; nil when nothing is awaited.
    var waiting: Waiting? {
        switch state {
        case .greeting, .ehlo, .helo, .mail, .recipient, .data, .body: .command
        case .final: .dotReply
        case .draining, .reset, .quitting: .reset
        case .ready: .idle
        case .closed: nil
        }
    }

    var stage: SMTPStage {
        switch state {
        case .greeting: .greeting
        case .ehlo, .helo: .hello
        case .mail: .mail
        case .recipient: .recipient
        case .data: .data
        case .body: .body
        case .final: .dot
        case .ready, .draining, .reset, .quitting, .closed: .connect
        }
    }
}

extension SMTPSession.Extensions {
    /// Reads the lines of a reply to EHLO; the first one greets.
    init(ehlo reply: SMTPReply) {
        for line in reply.lines.dropFirst() {
            let words = line.uppercased().split(separator: " ")
            switch words.first {
            case "PIPELINING": pipelining = true
            case "8BITMIME": eightBitMIME = true
            case "SMTPUTF8": smtpUTF8 = true
            case "SIZE":
                size = true
                if words.count > 1, let limit = Int(words[1]), limit > 0 { largestMessage = limit }
            default: break
            }
        }
    }
}

extension SMTPSession.Message {
    init(envelope: SMTPEnvelope, message: [UInt8]) {
        self.envelope = envelope
        octets = message.count
        var high = false
        var highInHeader = false
        var inHeader = true
        var lastWasLineEnd = false
        for octet in message {
            if octet >= 0x80 {
                high = true
                highInHeader = highInHeader || inHeader
                if !inHeader { break }
            }
            guard inHeader else { continue }
            if octet == 0x0A {
                inHeader = !lastWasLineEnd
                lastWasLineEnd = true
            } else if octet != 0x0D {
                lastWasLineEnd = false
            }
        }
        hasHighOctets = high
        hasHighOctetsInHeader = highInHeader
    }

    /// A refusal our own side makes, in the words a server would use; nil when the message can be offered.
    func localRefusal(_ extensions: SMTPSession.Extensions) -> SMTPReply? {
        if !Self.isPath(envelope.sender, mayBeEmpty: true) {
            return SMTPReply(
                code: 553, lines: ["5.1.7 The return path is no address; nothing was sent"], isLocal: true)
        }
        if !Self.isPath(envelope.recipient, mayBeEmpty: false) {
            return SMTPReply(code: 553, lines: ["5.1.3 The recipient is no address; nothing was sent"], isLocal: true)
        }
        if needsSMTPUTF8, !extensions.smtpUTF8 {
            return SMTPReply(
                code: 553, lines: ["5.6.7 The address needs SMTPUTF8, which the server does not offer"], isLocal: true)
        }
        if let limit = extensions.largestMessage, octets > limit {
            return SMTPReply(
                code: 552, lines: ["5.3.4 The message has \(octets) octets; the server takes \(limit)"], isLocal: true)
        }
        return nil
    }

    var needsSMTPUTF8: Bool {
        hasHighOctetsInHeader || !envelope.sender.utf8.allSatisfy { $0 < 0x80 }
            || !envelope.recipient.utf8.allSatisfy { $0 < 0x80 }
    }

    /// Nothing that could end the path early or start another command. The grammar itself is `EmailAddress`'s.
    private static func isPath(_ text: String, mayBeEmpty: Bool) -> Bool {
        if text.isEmpty { return mayBeEmpty }
        return text.utf8.count <= 320 && headerFault(in: text) == nil && text.utf8.contains(UInt8(ascii: "@"))
            && (text.utf8.first == UInt8(ascii: "\"")
                ? (try? EmailAddress(parsing: text)) != nil
                : text.utf8.allSatisfy { $0 != 0x20 && $0 != 0x3C && $0 != 0x3E })
    }
}
