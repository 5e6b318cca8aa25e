import Mail

/// The client's side of one SMTP connection as a value: it holds no socket, clock or buffer, so that every combination
/// of state and input can be tried in a test. `SMTPSession+StateMachine.swift` has the transitions.
///
/// Three laws hold over all inputs: every `deliver` gets exactly one `finish`; `writeDot` is asked for only after a
/// 354 and `bodyWritten(inTime: true)`; nothing but EHLO, HELO and STARTTLS is sent before the encryption and the
/// authentication that the policy asks for. An outcome is in doubt exactly when `writeDot` was asked for, was not said to
/// be withheld, and no usable reply came.
struct SMTPSession: Sendable {
    enum State: Equatable, Sendable {
        case greeting
        case ehlo
        case helo
        case startTLS
        case handshake
        /// Lines that are still to be sent, one for each 334.
        case auth(rest: [String])
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

    /// What has to be true of the connection before a message goes over it.
    struct Policy: Sendable {
        enum Encryption: Sendable {
            case never, whenOffered, required, fromStart
        }

        var encryption = Encryption.never
        var credentials: SMTPCredentials?
        var allowsClearTextCredentials = false
    }

    struct Transaction: Equatable, Sendable {
        /// What is still to be sent; nothing when it is pipelined.
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
        var startTLS = false
        var authPlain = false
        var authLogin = false
        var dsn = false
        /// Nil when the server states no limit.
        var largestMessage: Int?
    }

    enum Input: Sendable {
        case reply(SMTPReply)
        case malformed(reason: String)
        case closed(reason: String)
        case timedOut(reason: String)
        case deliver(Message)
        /// All of the text has been taken by the network, or is held back to go out in one write with its dot.
        case bodyWritten(inTime: Bool)
        /// The write of text and dot ended, or was given up, before the end of the dot was handed over.
        case dotWithheld(reason: String)
        /// The TLS handshake is done and the certificate is good.
        case secured
        case quit
    }

    enum Action: Equatable, Sendable {
        case send(String)
        case startTLS
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
    let policy: Policy
    var state = State.greeting
    var extensions = Extensions()
    var isSecure = false

    init(heloName: String, policy: Policy = Policy()) {
        self.heloName = heloName
        self.policy = policy
    }

    /// Between STARTTLS and its answer: what follows the answer in clear text is somebody's attempt to be taken for the
    /// encrypted server.
    var mustFallSilent: Bool { state == .startTLS }

    var isClosed: Bool {
        if case .closed = state { true } else { false }
    }

    /// Which time limit applies now; nil when nothing is awaited.
    var waiting: Waiting? {
        switch state {
        case .greeting, .ehlo, .helo, .startTLS, .handshake, .auth, .mail, .recipient, .data, .body: .command
        case .final: .dotReply
        case .draining, .reset, .quitting: .reset
        case .ready: .idle
        case .closed: nil
        }
    }

    var stage: SMTPStage {
        switch state {
        case .greeting: policy.encryption == .fromStart && !isSecure ? .tls : .greeting
        case .ehlo, .helo: .hello
        case .startTLS, .handshake: .tls
        case .auth: .auth
        case .mail: .mail
        case .recipient: .recipient
        case .data: .data
        case .body: .body
        case .final: .dot
        case .ready, .draining, .reset, .quitting, .closed: .connect
        }
    }
}
