/// Who holds which connection, and who waits. A value, so that every transition can be seen in one place.
struct PoolState {
    typealias Continuation = CheckedContinuation<PostgresConnection, any Error>

    struct Waiter {
        let id: UInt64
        let continuation: Continuation
    }

    enum Lease {
        case granted(PostgresConnection)
        case create(number: Int)
        case wait
        case full
        case closed
    }

    enum Release {
        case handOver(Continuation, PostgresConnection)
        case keep
        case close(PostgresConnection)
    }

    let size: Int
    let maxWaiters: Int
    private(set) var isClosed = false
    private(set) var created = 0
    private(set) var inUse = 0
    /// Why the last attempt to connect failed; `nil` after a success.
    var connectFailure: PostgresError?
    private var idle: [PostgresConnection] = []
    private var waiters: [Waiter] = []
    private var closers: [CheckedContinuation<Void, Never>] = []
    private var idsGiven: UInt64 = 0

    init(size: Int, maxWaiters: Int) {
        self.size = size
        self.maxWaiters = maxWaiters
    }

    var waiting: Int { waiters.count }

    mutating func newID() -> UInt64 {
        idsGiven += 1
        return idsGiven
    }

    /// The most recently used connection first: its statements are prepared and its pages are warm.
    mutating func lease() -> Lease {
        if isClosed { return .closed }
        if let connection = idle.popLast() {
            inUse += 1
            return .granted(connection)
        }
        if created < size {
            created += 1
            inUse += 1
            return .create(number: created)
        }
        return waiters.count < maxWaiters ? .wait : .full
    }

    mutating func enqueue(_ waiter: Waiter) { waiters.append(waiter) }

    /// First come, first served.
    mutating func release(_ connection: PostgresConnection) -> Release {
        if !waiters.isEmpty { return .handOver(waiters.removeFirst().continuation, connection) }
        if isClosed { return .close(connection) }
        inUse -= 1
        idle.append(connection)
        return .keep
    }

    mutating func removeWaiter(_ id: UInt64) -> Continuation? {
        guard let index = waiters.firstIndex(where: { $0.id == id }) else { return nil }
        return waiters.remove(at: index).continuation
    }

    mutating func close() -> (connections: [PostgresConnection], waiters: [Waiter]) {
        isClosed = true
        defer {
            idle = []
            waiters = []
        }
        return (idle, waiters)
    }

    /// A connection that came back after closing is closed now; returns who waited for the last one.
    mutating func closedOne() -> [CheckedContinuation<Void, Never>] {
        inUse -= 1
        return inUse == 0 ? takeClosers() : []
    }

    mutating func awaitDrain(_ continuation: CheckedContinuation<Void, Never>) { closers.append(continuation) }

    mutating func takeClosers() -> [CheckedContinuation<Void, Never>] {
        defer { closers = [] }
        return closers
    }
}
