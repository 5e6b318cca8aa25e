import NIOCore
import NIOPosix
import Synchronization

/// What all connections of the server share.
final class Mailboxes: Sendable {
    private struct State {
        var accepted: [Behaviour: Int] = [:]
        var refused: [Behaviour: Int] = [:]
        /// Attempts so far of messages that were put off; the oldest are forgotten beyond the limit.
        var attempts: [String: Int] = [:]
        var order = CircularBuffer<String>()
        var sequence = 0
    }

    static let remembered = 100_000

    let witness: Witness
    let reporter: Reporter
    let delays: Delays
    private let state = Mutex(State())

    init(witness: Witness, reporter: Reporter, delays: Delays) {
        self.witness = witness
        self.reporter = reporter
        self.delays = delays
    }

    var counts: (accepted: [Behaviour: Int], refused: [Behaviour: Int]) {
        state.withLock { ($0.accepted, $0.refused) }
    }

    func countRefusal(_ behaviour: Behaviour) {
        state.withLock { $0.refused[behaviour, default: 0] += 1 }
    }

    /// Counts the message and returns its number.
    func countAcceptance(_ behaviour: Behaviour) -> Int {
        state.withLock { state in
            state.accepted[behaviour, default: 0] += 1
            state.sequence += 1
            return state.sequence
        }
    }

    /// True for the first `times` attempts of this return path and recipient, then false, and the count starts anew.
    func putsOff(_ sender: String, _ recipient: String, times: Int) -> Bool {
        let key = "\(sender) \(recipient)"
        return state.withLock { state in
            let attempts = state.attempts[key] ?? 0
            if attempts >= times {
                state.attempts[key] = nil
                return false
            }
            if attempts == 0 { state.order.append(key) }
            state.attempts[key] = attempts + 1
            if state.order.count > Self.remembered, let oldest = state.order.popFirst() {
                state.attempts[oldest] = nil
            }
            return true
        }
    }
}

/// One client's dialogue. Commands are taken one by one; while an answer waits for something, nothing more is read.
final class SMTPServerHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private struct Transaction {
        let recipient: String
        let behaviour: Behaviour
        let plan: [FollowUp]
    }

    private static let largestMessage = 16 << 20
    private static let longestCommand = 2_048

    private let mailboxes: Mailboxes
    private var buffer = ByteBuffer()
    private var message = ByteBuffer()
    private var sender: String?
    private var transaction: Transaction?
    private var isInMessage = false
    private var isAtLineStart = true
    private var holdsSlots = false
    private var isBusy = false
    private var wantsRead = false

    init(_ mailboxes: Mailboxes) {
        self.mailboxes = mailboxes
    }

    // MARK: Channel events

    func channelActive(context: ChannelHandlerContext) {
        reply("220 mailbox-simulator ESMTP", context)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var data = unwrapInboundIn(data)
        buffer.writeBuffer(&data)
        process(context)
    }

    func read(context: ChannelHandlerContext) {
        if isBusy { wantsRead = true } else { context.read() }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if !isBusy { endTransaction() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func process(_ context: ChannelHandlerContext) {
        while !isBusy, context.channel.isActive, isInMessage ? takeMessageLine(context) : takeCommand(context) {}
        buffer.discardReadBytes()
        if buffer.readableBytes > Self.largestMessage { context.close(promise: nil) }
    }

    private func wait<Value: Sendable>(
        for future: EventLoopFuture<Value>, _ context: ChannelHandlerContext,
        then: @escaping (Result<Value, any Error>) -> Void
    ) {
        isBusy = true
        future.assumeIsolated().whenComplete { [self] result in
            isBusy = false
            then(result)
            if !context.channel.isActive, !isBusy { endTransaction() }
            process(context)
            if wantsRead, !isBusy {
                wantsRead = false
                context.read()
            }
        }
    }

    private func reply(_ text: String, _ context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text + "\r\n")), promise: nil)
    }

    // MARK: Commands

    private func takeCommand(_ context: ChannelHandlerContext) -> Bool {
        guard let end = buffer.readableBytesView.firstIndex(of: 10) else {
            if buffer.readableBytes > Self.longestCommand { context.close(promise: nil) }
            return false
        }
        let line = buffer.readString(length: end - buffer.readerIndex + 1) ?? ""
        command(String(line.unicodeScalars.prefix { $0 != "\r" && $0 != "\n" }), context)
        return true
    }

    private func command(_ line: String, _ context: ChannelHandlerContext) {
        switch line.prefix(4).uppercased() {
        case "EHLO":
            let offers = ["mailbox-simulator", "PIPELINING", "8BITMIME", "SMTPUTF8"].map { "250-\($0)\r\n" }.joined()
            reply("\(offers)250 SIZE \(Self.largestMessage)", context)
        case "HELO", "NOOP": reply("250 2.0.0 ok", context)
        case "MAIL":
            endTransaction()
            sender = Self.path(line)
            reply(sender == nil ? "501 5.5.4 MAIL FROM:<address> is needed" : "250 2.1.0 ok", context)
        case "RCPT": recipient(line, context)
        case "DATA": data(context)
        case "RSET":
            endTransaction()
            reply("250 2.0.0 ok", context)
        case "QUIT":
            reply("221 2.0.0 bye", context)
            context.close(promise: nil)
        default: reply("502 5.5.1 unknown command", context)
        }
    }

    private static func path(_ line: String) -> String? {
        guard let open = line.firstIndex(of: "<"), let close = line.lastIndex(of: ">"), open < close else { return nil }
        return String(line[line.index(after: open)..<close])
    }

    private func recipient(_ line: String, _ context: ChannelHandlerContext) {
        guard let sender else { return reply("503 5.5.1 MAIL comes first", context) }
        guard transaction == nil else { return reply("452 4.5.3 one recipient at a time", context) }
        guard let recipient = Self.path(line), recipient.contains("@") else {
            return reply("501 5.1.3 RCPT TO:<address> is needed", context)
        }
        let behaviour = Behaviour(recipient: recipient)
        let refusal: String? =
            switch behaviour {
            case .bounce: "550 5.1.1 the mailbox does not exist"
            case .block: "550 5.7.1 refused by policy"
            case .softforever: "452 4.2.2 the mailbox is full"
            case .soft where mailboxes.putsOff(sender, recipient, times: 2): "451 4.2.2 the mailbox is busy, try later"
            default: nil
            }
        if let refusal {
            mailboxes.countRefusal(behaviour)
            return reply(refusal, context)
        }
        transaction = Transaction(
            recipient: recipient, behaviour: behaviour, plan: mailboxes.reporter.plan(behaviour, mailboxes.delays))
        reply("250 2.1.5 ok", context)
    }

    private func data(_ context: ChannelHandlerContext) {
        guard let sender, let transaction else { return reply("554 5.5.1 no valid recipients", context) }
        if transaction.behaviour == .dropbefore, mailboxes.putsOff(sender, transaction.recipient, times: 1) {
            mailboxes.countRefusal(.dropbefore)
            return context.close(promise: nil)
        }
        wait(for: mailboxes.reporter.reserve(transaction.plan.count, on: context.eventLoop), context) { [self] _ in
            holdsSlots = true
            isInMessage = true
            isAtLineStart = true
            message.clear()
            reply("354 end with a dot", context)
        }
    }

    // MARK: The message

    /// A line ends with CR LF and nothing else, so that a dot between bare line feeds is text.
    private func takeMessageLine(_ context: ChannelHandlerContext) -> Bool {
        guard let end = buffer.readableBytesView.firstIndex(of: 10) else { return false }
        guard var line = buffer.readSlice(length: end - buffer.readerIndex + 1) else { return false }
        let length = line.readableBytes
        let endsLine = length > 1 && line.getInteger(at: line.readerIndex + length - 2, as: UInt8.self) == 13
        if isAtLineStart, line.getInteger(at: line.readerIndex, as: UInt8.self) == UInt8(ascii: ".") {
            line.moveReaderIndex(forwardBy: 1)
            if endsLine, length == 3 {
                isInMessage = false
                accept(context)
                return true
            }
        }
        isAtLineStart = endsLine
        message.writeBuffer(&line)
        if message.readableBytes > Self.largestMessage { context.close(promise: nil) }
        return true
    }

    private func accept(_ context: ChannelHandlerContext) {
        guard let transaction else { return }
        guard transaction.behaviour == .slow else { return record(transaction, context) }
        let pause = context.eventLoop.scheduleTask(in: .milliseconds(mailboxes.delays.slow)) {}
        wait(for: pause.futureResult, context) { [self] _ in record(transaction, context) }
    }

    private func record(_ transaction: Transaction, _ context: ChannelHandlerContext) {
        let octets = Array(message.readableBytesView)
        let reader = MessageReader(octets)
        let delivery = reader.header("x-rollcall-delivery")
        let line =
            "{\"accepted_at\":\(Clock.microseconds()),\"recipient\":\(JSON.string(transaction.recipient)),"
            + "\"message_id\":\(JSON.string(reader.header("message-id") ?? "")),"
            + "\"delivery\":\(JSON.string(delivery ?? "")),\"octets\":\(octets.count),"
            + "\"behaviour\":\"\(transaction.behaviour.rawValue)\"}\n"
        wait(for: mailboxes.witness.record(line, on: context.eventLoop), context) { [self] result in
            guard case .success = result else {
                reply("451 4.3.0 cannot write", context)
                return endTransaction()
            }
            holdsSlots = false
            let number = mailboxes.countAcceptance(transaction.behaviour)
            let plan = transaction.plan
            mailboxes.reporter.follow(plan, message: octets, delivery: delivery, on: context.eventLoop)
            endTransaction()
            if transaction.behaviour == .dropafter { return context.close(promise: nil) }
            reply("250 2.0.0 Ok: queued as \(String(number, radix: 16, uppercase: true))", context)
        }
    }

    private func endTransaction() {
        if holdsSlots, let transaction { mailboxes.reporter.release(transaction.plan.count) }
        holdsSlots = false
        isInMessage = false
        transaction = nil
        sender = nil
        message.clear(minimumCapacity: min(message.capacity, 65_536))
    }
}
