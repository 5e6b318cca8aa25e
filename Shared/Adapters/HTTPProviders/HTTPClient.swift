import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A POST request. `Host` is among the headers, `Content-Length` is not.
struct HTTPRequest: Sendable {
    let path: String
    let headers: [(name: String, value: String)]
    /// Not empty: its last octet is what makes the request whole.
    let body: [UInt8]
}

struct HTTPAnswer: Sendable, Equatable {
    let status: Int
    /// Names in small letters.
    let headers: [String: String]
    let body: [UInt8]
}

/// What is known about a request afterwards.
enum HTTPExchange: Sendable, Equatable {
    case answered(HTTPAnswer)
    /// The last octet was never written, so the server cannot have acted on it.
    case notSent(reason: String)
    /// The last octet was handed to the network and no usable answer came.
    case noAnswer(reason: String)
}

/// When to give up, and what to call around the point of no return.
struct HTTPPatience: Sendable {
    /// The last octet is written before this, or never.
    let deadline: ContinuousClock.Instant
    /// Called immediately before the last octet is written; must not block.
    let beforeEnd: @Sendable () -> Void
    let afterEnd: @Sendable () -> Void
}

/// Requests to one server over kept connections, one request at a time on each.
///
/// The last octet of a body is held back until the network has taken the others, and is then written only while there is
/// time. So `notSent` is certain: a server cannot act on a request that it does not have. An unused connection is kept
/// for a few seconds only, because a server that closes one at the moment of the last octet leaves doubt.
///
/// At most `limit` requests are under way at once; others wait for their turn until their deadline.
///
/// Limits: HTTP/1.1 without redirects; an answer of more than `answerOctets` is no answer.
final class HTTPClient: Sendable {
    static let answerOctets = 64 * 1024

    private struct State {
        var idle: [HTTPConnection] = []
        var open = 0
        var inUse = 0
        /// In order of arrival.
        var waiters: [(id: UInt64, continuation: CheckedContinuation<Bool, Never>)] = []
        var nextID: UInt64 = 0
        var isClosed = false
    }

    let endpoint: HTTPEndpoint
    private let group: any EventLoopGroup
    private let limit: Int
    private let answerTimeout: Duration
    private let idleTimeout: Duration
    private let state = Mutex(State())

    init(
        _ endpoint: HTTPEndpoint, eventLoopGroup: any EventLoopGroup, limit: Int, answerTimeout: Duration,
        idleTimeout: Duration = .seconds(5)
    ) {
        self.limit = limit
        self.endpoint = endpoint
        group = eventLoopGroup
        self.answerTimeout = answerTimeout
        self.idleTimeout = idleTimeout
    }

    var openConnections: Int { state.withLock { $0.open } }

    func post(_ request: HTTPRequest, _ patience: HTTPPatience) async -> HTTPExchange {
        guard await turn(until: patience.deadline) else {
            return .notSent(reason: "the deadline passed before a connection was free")
        }
        defer { passTurn() }
        return await exchange(request, patience)
    }

    private func exchange(_ request: HTTPRequest, _ patience: HTTPPatience) async -> HTTPExchange {
        if let kept = state.withLock({ $0.idle.popLast() }) {
            let (exchange, isReusable) = await kept.post(request, patience)
            finish(kept, isReusable)
            // A kept connection may have ended meanwhile; nothing was sent over it.
            guard case .notSent = exchange, ContinuousClock.now < patience.deadline else { return exchange }
        }
        let left = ContinuousClock.now.duration(to: patience.deadline)
        guard left > .zero else { return .notSent(reason: "the deadline passed before the request was written") }
        state.withLock { $0.open += 1 }
        let connection: HTTPConnection
        do {
            connection = try await HTTPConnection.open(
                endpoint, on: group.next(), within: min(left, .seconds(10)), answerTimeout: answerTimeout,
                idleTimeout: idleTimeout
            ) { self.state.withLock { $0.open -= 1 } }
        } catch {
            state.withLock { $0.open -= 1 }
            return .notSent(reason: "cannot connect to \(endpoint.authority): \(HTTPFault.words(for: error))")
        }
        let (exchange, isReusable) = await connection.post(request, patience)
        finish(connection, isReusable)
        return exchange
    }

    /// Ends the kept connections; those in use end after their answer.
    func close() {
        let idle = state.withLock { state in
            defer { state.idle = [] }
            state.isClosed = true
            return state.idle
        }
        for connection in idle { connection.close() }
    }

    private func finish(_ connection: HTTPConnection, _ isReusable: Bool) {
        let isKept = state.withLock { state in
            state.idle.removeAll { !$0.isActive }
            guard isReusable, !state.isClosed else { return false }
            state.idle.append(connection)
            return true
        }
        if !isKept { connection.close() }
    }

    // MARK: Turns

    /// False when the deadline came first.
    private func turn(until deadline: ContinuousClock.Instant) async -> Bool {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        let timer = Task {
            try await Task.sleep(until: deadline)
            giveUp(id)
        }
        defer { timer.cancel() }
        return await withCheckedContinuation { continuation in
            let isGranted = state.withLock { state -> Bool? in
                guard ContinuousClock.now < deadline else { return false }
                guard state.inUse < limit else {
                    state.waiters.append((id, continuation))
                    return nil
                }
                state.inUse += 1
                return true
            }
            if let isGranted { continuation.resume(returning: isGranted) }
        }
    }

    private func giveUp(_ id: UInt64) {
        let waiter = state.withLock { state in
            state.waiters.firstIndex { $0.id == id }.map { state.waiters.remove(at: $0) }
        }
        waiter?.continuation.resume(returning: false)
    }

    private func passTurn() {
        let next = state.withLock { state -> CheckedContinuation<Bool, Never>? in
            guard state.waiters.isEmpty else { return state.waiters.removeFirst().continuation }
            state.inUse -= 1
            return nil
        }
        next?.resume(returning: true)
    }
}
