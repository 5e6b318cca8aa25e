import Mail

extension SMTPSession {
    mutating func handle(_ input: Input) -> [Action] {
        switch input {
        case .reply(let reply): handle(reply)
        case .malformed(let reason): end(reason)
        case .closed(let reason): end(reason, isStale: true)
        case .timedOut(let reason): state == .ready ? quit() : end(reason)
        case .deliver(let message): begin(message)
        case .bodyWritten(let inTime): bodyWritten(inTime: inTime)
        case .dotWithheld(let reason):
            state == .final ? finish(.deferred(nil, stage: .body, reason: reason)) : []
        case .secured: secured()
        case .quit: quit()
        }
    }

    private mutating func handle(_ reply: SMTPReply) -> [Action] {
        switch state {
        case .greeting, .ehlo, .helo: opening(reply)
        case .startTLS: startTLS(reply)
        case .handshake: refuse(nil, "the server sent something during the TLS handshake")
        case .auth(let rest): auth(reply, rest)
        case .mail(let transaction): mail(reply, transaction)
        case .recipient(let transaction): recipient(reply, transaction)
        case .data: data(reply)
        case .body: finish(refusal(reply, .body) ?? unexpected(reply, .body))
        case .final: final(reply)
        case .draining(let replies, let outcome): drain(reply, replies, outcome)
        case .reset(let outcome): reply.isPositive ? release(outcome) : finish(outcome)
        case .ready, .quitting: close()
        case .closed: []
        }
    }

    // MARK: Opening

    private mutating func opening(_ reply: SMTPReply) -> [Action] {
        switch (state, reply.code) {
        case (.greeting, 220):
            state = .ehlo
            return [.send("EHLO \(heloName)\r\n")]
        case (.ehlo, 250):
            extensions = Extensions(ehlo: reply)
            return encrypt()
        case (.ehlo, 500...599):
            state = .helo
            return [.send("HELO \(heloName)\r\n")]
        case (.helo, 250): return encrypt()
        default: return refuse(reply, "the server does not serve us: \(reply)")
        }
    }

    private mutating func refuse(
        _ reply: SMTPReply?, at refusedStage: SMTPStage? = nil, _ reason: String
    ) -> [Action] {
        let outcome = SMTPOutcome.deferred(reply, stage: refusedStage ?? stage, reason: reason)
        state = .closed
        return [.refused(outcome), .close]
    }

    private mutating func encrypt() -> [Action] {
        guard !isSecure else { return authenticate() }
        switch policy.encryption {
        case .never: return authenticate()
        case .fromStart: return refuse(nil, at: .tls, "the server answered before the TLS handshake")
        case .whenOffered where !extensions.startTLS: return authenticate()
        case .required where !extensions.startTLS:
            return refuse(nil, at: .tls, "the relay does not offer STARTTLS, which is required")
        case .whenOffered, .required:
            state = .startTLS
            return [.send("STARTTLS\r\n")]
        }
    }

    /// A refusal is a downgrade anybody in between could make too, so it counts like an offer not made.
    private mutating func startTLS(_ reply: SMTPReply) -> [Action] {
        if reply.code == 220 {
            state = .handshake
            return [.startTLS]
        }
        guard policy.encryption == .whenOffered, reply.code != 421 else {
            return refuse(reply, "the relay refused STARTTLS: \(reply)")
        }
        return authenticate()
    }

    /// What the server said in clear text counts for nothing any more (RFC 3207 §4.2).
    private mutating func secured() -> [Action] {
        switch state {
        case .greeting where policy.encryption == .fromStart:
            isSecure = true
            return []
        case .handshake:
            isSecure = true
            extensions = Extensions()
            state = .ehlo
            return [.send("EHLO \(heloName)\r\n")]
        default: return []
        }
    }

    private mutating func authenticate() -> [Action] {
        guard let credentials = policy.credentials else {
            state = .ready
            return [.opened]
        }
        guard isSecure || policy.allowsClearTextCredentials else {
            return refuse(nil, at: .auth, "the connection is not encrypted; the credentials were not sent")
        }
        if extensions.authPlain {
            state = .auth(rest: [])
            return [.send("AUTH PLAIN \(Self.base64("\0\(credentials.user)\0\(credentials.password)"))\r\n")]
        }
        guard extensions.authLogin else {
            return refuse(nil, at: .auth, "the relay offers neither AUTH PLAIN nor AUTH LOGIN")
        }
        state = .auth(rest: [Self.base64(credentials.user), Self.base64(credentials.password)])
        return [.send("AUTH LOGIN\r\n")]
    }

    private mutating func auth(_ reply: SMTPReply, _ rest: [String]) -> [Action] {
        switch (reply.code, rest.first) {
        case (235, nil):
            state = .ready
            return [.opened]
        case (334, let line?):
            state = .auth(rest: Array(rest.dropFirst()))
            return [.send("\(line)\r\n")]
        default: return refuse(reply, "the relay refused the credentials: \(reply)")
        }
    }

    private static func base64(_ text: String) -> String {
        String(decoding: Base64.encode(Array(text.utf8)[...]), as: UTF8.self)
    }

    // MARK: One message

    private mutating func begin(_ message: Message) -> [Action] {
        guard state == .ready else {
            let outcome = SMTPOutcome.deferred(nil, stage: .connect, reason: "the connection is not ready")
            return [.finish(outcome, isStale: true)]
        }
        if let refusal = message.localRefusal(extensions) {
            return [.release, .finish(.rejected(refusal, stage: .mail), isStale: false)]
        }
        let mail = message.mailCommand(extensions)
        let recipient = message.recipientCommand(extensions)
        guard extensions.pipelining else {
            state = .mail(Transaction(recipient: recipient, isPipelined: false))
            return [.send(mail)]
        }
        state = .mail(Transaction(recipient: "", isPipelined: true))
        return [.send(mail + recipient + "DATA\r\n")]
    }

    private mutating func mail(_ reply: SMTPReply, _ transaction: Transaction) -> [Action] {
        if Self.wantsMoreOfUs.contains(reply.code) {
            return finish(.deferred(reply, stage: .auth, reason: "the relay wants authentication or TLS: \(reply)"))
        }
        guard reply.isPositive else { return refused(reply, .mail, pending: transaction.isPipelined ? 2 : 0) }
        state = .recipient(transaction)
        return transaction.isPipelined ? [] : [.send(transaction.recipient)]
    }

    /// RFC 4954 §6: a fault of the settings, and none of the message's.
    private static let wantsMoreOfUs: Set<Int> = [530, 534, 535, 538]

    private mutating func recipient(_ reply: SMTPReply, _ transaction: Transaction) -> [Action] {
        guard reply.isPositive else { return refused(reply, .recipient, pending: transaction.isPipelined ? 1 : 0) }
        state = .data(transaction)
        return transaction.isPipelined ? [] : [.send("DATA\r\n")]
    }

    private mutating func data(_ reply: SMTPReply) -> [Action] {
        guard reply.code == 354 else { return refused(reply, .data, pending: 0) }
        state = .body
        return [.writeBody]
    }

    private mutating func bodyWritten(inTime: Bool) -> [Action] {
        guard state == .body else { return [] }
        guard inTime else {
            return finish(.deferred(nil, stage: .body, reason: "the deadline passed before the final dot"))
        }
        state = .final
        return [.writeDot]
    }

    private mutating func final(_ reply: SMTPReply) -> [Action] {
        switch reply.code {
        case 200...299: release(.accepted(reply))
        case 421: finish(.deferred(reply, stage: .dot, reason: "refused for now: \(reply)"))
        case 400...499: release(.deferred(reply, stage: .dot, reason: "refused for now: \(reply)"))
        case 500...599: release(.rejected(reply, stage: .dot))
        default: finish(.inDoubt(reason: "the server answered the final dot with \(reply)"))
        }
    }

    // MARK: Refusals

    private mutating func refused(_ reply: SMTPReply, _ stage: SMTPStage, pending: Int) -> [Action] {
        guard let outcome = refusal(reply, stage) else { return finish(unexpected(reply, stage)) }
        if reply.code == 421 { return finish(outcome, isStale: stage == .mail) }
        guard pending == 0 else {
            state = .draining(replies: pending, outcome)
            return []
        }
        if stage == .mail { return release(outcome) }
        state = .reset(outcome)
        return [.send("RSET\r\n")]
    }

    /// A server may answer DATA with 354 although it refused the recipient. Closing is the way out that never puts a
    /// dot on the wire for a refused message.
    private mutating func drain(_ reply: SMTPReply, _ replies: Int, _ outcome: SMTPOutcome) -> [Action] {
        if reply.code == 354 || reply.code == 421 { return finish(outcome) }
        if replies > 1 {
            state = .draining(replies: replies - 1, outcome)
            return []
        }
        state = .reset(outcome)
        return [.send("RSET\r\n")]
    }

    private func refusal(_ reply: SMTPReply, _ stage: SMTPStage) -> SMTPOutcome? {
        if reply.isTransient { return .deferred(reply, stage: stage, reason: "refused for now: \(reply)") }
        return reply.isPermanent ? .rejected(reply, stage: stage) : nil
    }

    private func unexpected(_ reply: SMTPReply, _ stage: SMTPStage) -> SMTPOutcome {
        .deferred(reply, stage: stage, reason: "the server answered out of turn: \(reply)")
    }

    // MARK: Ends

    private mutating func release(_ outcome: SMTPOutcome) -> [Action] {
        state = .ready
        return [.release, .finish(outcome, isStale: false)]
    }

    private mutating func finish(_ outcome: SMTPOutcome, isStale: Bool = false) -> [Action] {
        state = .closed
        return [.finish(outcome, isStale: isStale), .close]
    }

    private mutating func close() -> [Action] {
        state = .closed
        return [.close]
    }

    private mutating func quit() -> [Action] {
        guard state == .ready else { return [] }
        state = .quitting
        return [.send("QUIT\r\n")]
    }

    /// The connection, the server's grammar or the time came to an end.
    private mutating func end(_ reason: String, isStale: Bool = false) -> [Action] {
        let stage = stage
        switch state {
        case .closed: return []
        case .ready, .quitting: return close()
        case .greeting, .ehlo, .helo, .startTLS, .handshake, .auth: return refuse(nil, reason)
        case .mail: return finish(.deferred(nil, stage: stage, reason: reason), isStale: isStale)
        case .recipient, .data, .body: return finish(.deferred(nil, stage: stage, reason: reason))
        case .final: return finish(.inDoubt(reason: reason))
        case .draining(_, let outcome), .reset(let outcome): return finish(outcome)
        }
    }
}
