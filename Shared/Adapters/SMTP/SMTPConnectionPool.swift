public import Mail
public import NIOCore
import Synchronization

/// Kept connections to one SMTP relay, each serving one message at a time.
///
/// Callers may rely on: an outcome other than `inDoubt` is certain; at most `maxConnections` connections exist; those
/// who have to wait for one are served in order of arrival; nothing is queued beyond the callers themselves, each
/// of whom holds its own message. A message is offered a second time only when a kept connection turns out to have ended
/// before the server answered anything about it.
///
/// A connection takes messages once it has the encryption and the authentication that the configuration asks for.
///
/// Limits: `close()` has to be awaited before the event loop group is shut down.
public final class SMTPConnectionPool: Sendable {
    private let configuration: SMTPConfiguration
    private let eventLoopGroup: any EventLoopGroup
    private let now: SMTPClock
    private let fault: String?
    /// False once the network took less at once than it should have.
    private let joinsDot = Atomic<Bool>(true)
    private let state = Mutex(State())

    public convenience init(_ configuration: SMTPConfiguration, eventLoopGroup: any EventLoopGroup) {
        self.init(configuration, eventLoopGroup: eventLoopGroup, now: { .now })
    }

    init(_ configuration: SMTPConfiguration, eventLoopGroup: any EventLoopGroup, now: @escaping SMTPClock) {
        self.configuration = configuration
        self.eventLoopGroup = eventLoopGroup
        self.now = now
        fault = configuration.fault
    }

    /// Connections that are open now, in use or kept.
    public var openConnections: Int { state.withLock { $0.connections.count } }

    /// Hands one message to the server.
    ///
    /// The text is written after the server's 354. `dotDeadline` is checked immediately before the final dot: when the
    /// network has taken all of the text, or before both go out in one write that the network takes as a whole. A deadline
    /// that passes before that gives `deferred` and a closed connection, at any stage. Cancelling the task ends the wait for a connection, never a running attempt.
    ///
    /// - Parameters:
    ///   - message: the text; line ends are made canonical and dots are stuffed here.
    ///   - entered: called when the exchange about this message comes to a stage; must not block either.
    ///   - beforeDot: called immediately before the write that has the dot; must not block (it is on the event loop).
    ///   - afterDot: called when the write of the dot has ended.
    public func deliver(
        _ envelope: SMTPEnvelope, message: [UInt8], dotDeadline: ContinuousClock.Instant,
        entered: (@Sendable (SMTPStage) -> Void)? = nil, beforeDot: (@Sendable () -> Void)? = nil,
        afterDot: (@Sendable () -> Void)? = nil
    ) async -> SMTPOutcome {
        if let fault {
            return .deferred(nil, stage: .connect, reason: "wrong SMTP configuration: \(fault)")
        }
        while true {
            let connection: SMTPConnection
            let isKept: Bool
            switch await acquire(until: dotDeadline) {
            case .connection(let kept): (connection, isKept) = (kept, true)
            case .slot:
                switch await open(until: dotDeadline) {
                case .success(let new): (connection, isKept) = (new, false)
                case .failure(let refusal): return refusal.outcome
                }
            case .refused(let reason): return .deferred(nil, stage: .connect, reason: reason)
            }
            let result = await connection.deliver(
                envelope, message: message, body: DotStuffing.octets(of: message), deadline: dotDeadline,
                entered: entered, beforeDot: beforeDot, afterDot: afterDot)
            // Connections of the same age reach a server's limit together. Each turn uses up a kept one.
            guard result.isStale, isKept else { return result.outcome }
        }
    }

    /// Ends the pool: waiting callers get `deferred` at once, running attempts get their answer, then every connection
    /// says QUIT. Returns when all are closed, which takes as long as the slowest running attempt.
    public func close() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let (waiters, idle, isDone) = state.withLock { state in
                state.isClosed = true
                let taken = (state.waiters, state.idle)
                state.waiters.removeAll()
                state.idle.removeAll()
                if state.slotsInUse > 0 { state.closing.append(continuation) }
                return (taken.0, taken.1, state.slotsInUse == 0)
            }
            for waiter in waiters { waiter.continuation.resume(returning: .refused(Self.closedReason)) }
            for connection in idle { connection.quit() }
            if isDone { continuation.resume() }
        }
    }

    private static let closedReason = "the connection pool is closed"
}

extension SMTPConnectionPool {
    private struct State {
        /// The most recently used one is last.
        var idle: [SMTPConnection] = []
        var connections: [UInt64: SMTPConnection] = [:]
        var messages: [UInt64: Int] = [:]
        /// Open connections and those being opened.
        var slotsInUse = 0
        var waiters = CircularBuffer<Waiter>()
        var nextID: UInt64 = 0
        var isClosed = false
        var closing: [CheckedContinuation<Void, Never>] = []

        mutating func makeID() -> UInt64 {
            nextID += 1
            return nextID
        }
    }

    private struct Waiter {
        let id: UInt64
        let continuation: CheckedContinuation<Grant, Never>
    }

    private enum Grant {
        case connection(SMTPConnection)
        /// Permission to open a connection; it is counted already.
        case slot
        case refused(String)
    }

    private struct Refusal: Error {
        let outcome: SMTPOutcome
    }

    private static let lateReason = "the deadline passed before a connection was free"

    private func acquire(until deadline: ContinuousClock.Instant) async -> Grant {
        guard now() < deadline else { return .refused(Self.lateReason) }
        let (grant, id) = state.withLock { state -> (Grant?, UInt64) in
            if state.isClosed { return (.refused(Self.closedReason), 0) }
            if let kept = state.idle.popLast() { return (.connection(kept), 0) }
            guard state.slotsInUse < configuration.maxConnections else { return (nil, state.makeID()) }
            state.slotsInUse += 1
            return (.slot, 0)
        }
        if let grant { return grant }
        let left = TimeAmount(clamping: now().duration(to: deadline))
        let timer = eventLoopGroup.any().scheduleTask(in: left) { self.giveUp(id, Self.lateReason) }
        defer { timer.cancel() }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                enqueue(Waiter(id: id, continuation: continuation))
                if Task.isCancelled { giveUp(id, "the attempt was cancelled while it waited for a connection") }
            }
        } onCancel: {
            giveUp(id, "the attempt was cancelled while it waited for a connection")
        }
    }

    /// Between the first look and this one a connection or a slot may have come free.
    private func enqueue(_ waiter: Waiter) {
        let grant = state.withLock { state -> Grant? in
            if state.isClosed { return .refused(Self.closedReason) }
            if let kept = state.idle.popLast() { return .connection(kept) }
            guard state.slotsInUse < configuration.maxConnections else {
                state.waiters.append(waiter)
                return nil
            }
            state.slotsInUse += 1
            return .slot
        }
        if let grant { waiter.continuation.resume(returning: grant) }
    }

    private func giveUp(_ id: UInt64, _ reason: String) {
        let waiter = state.withLock { state -> Waiter? in
            guard let index = state.waiters.firstIndex(where: { $0.id == id }) else { return nil }
            return state.waiters.remove(at: index)
        }
        waiter?.continuation.resume(returning: .refused(reason))
    }

    private func open(until deadline: ContinuousClock.Instant) async -> Result<SMTPConnection, Refusal> {
        let id = state.withLock { $0.makeID() }
        do {
            let (connection, refusal) = try await SMTPConnection.open(
                id: id, configuration: configuration, deadline: deadline, on: eventLoopGroup.next(),
                joinsDot: joinsDot.load(ordering: .relaxed), now: now,
                register: { connection in self.state.withLock { $0.connections[connection.id] = connection } },
                report: { event in self.take(event, from: id) })
            if let refusal { return .failure(Refusal(outcome: refusal)) }
            return .success(connection)
        } catch {
            freeSlot()
            let place = "\(configuration.host):\(configuration.port)"
            return .failure(
                Refusal(outcome: .deferred(nil, stage: .connect, reason: "cannot connect to \(place): \(error)")))
        }
    }

    private func take(_ event: SMTPChannelHandler.Event, from id: UInt64) {
        switch event {
        case .idle: keep(id)
        case .torn: joinsDot.store(false, ordering: .relaxed)
        case .closed:
            state.withLock { state in
                state.connections[id] = nil
                state.messages[id] = nil
                state.idle.removeAll { $0.id == id }
            }
            freeSlot()
        }
    }

    private func keep(_ id: UInt64) {
        state.withLock { state -> (() -> Void)? in
            guard let connection = state.connections[id] else { return nil }
            state.messages[id, default: 0] += 1
            if state.isClosed || state.messages[id, default: 0] >= configuration.maxMessagesPerConnection {
                return connection.quit
            }
            if let waiter = state.waiters.popFirst() {
                return { waiter.continuation.resume(returning: .connection(connection)) }
            }
            state.idle.append(connection)
            return nil
        }?()
    }

    private func freeSlot() {
        state.withLock { state -> (() -> Void)? in
            state.slotsInUse -= 1
            if let waiter = state.waiters.popFirst() {
                state.slotsInUse += 1
                return { waiter.continuation.resume(returning: .slot) }
            }
            guard state.isClosed, state.slotsInUse == 0 else { return nil }
            let closing = state.closing
            state.closing = []
            return { for continuation in closing { continuation.resume() } }
        }?()
    }
}
