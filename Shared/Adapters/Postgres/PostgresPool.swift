import Synchronization

/// A fixed number of connections, leased one at a time, first come first served.
///
/// Connections open on first use. One that broke is replaced when it is leased next, with growing pauses between
/// attempts, until the lease deadline. A lease is given back idle: an open transaction is rolled back, and a session
/// whose state is unknown is closed. What a caller `SET`s without `LOCAL` stays for the next one.
///
/// Limits: leasing a second connection while holding one can deadlock until the lease deadline; do not nest.
public final class PostgresPool: Sendable {
    public struct Metrics: Sendable, Hashable {
        public let size: Int
        public let inUse: Int
        public let waiting: Int
        /// The last attempt to connect failed.
        public let isServerUnreachable: Bool
    }

    private let configuration: PostgresConfiguration
    private let leaseTimeout: Duration
    private let state: Mutex<PoolState>

    /// - Parameters:
    ///   - maxWaiters: how many callers may wait for a connection; one more gets `poolFull` at once.
    ///   - leaseTimeout: how long a caller waits for a connection that works. Then it gets `connectionFailed` when the
    ///     server cannot be reached, else `poolTimeout`.
    public init(
        _ configuration: PostgresConfiguration, size: Int, maxWaiters: Int = 1024, leaseTimeout: Duration = .seconds(10)
    ) {
        precondition(size > 0, "a pool needs at least one connection")
        self.configuration = configuration
        self.leaseTimeout = leaseTimeout
        state = Mutex(PoolState(size: size, maxWaiters: maxWaiters))
    }

    public var metrics: Metrics {
        state.withLock { state in
            Metrics(
                size: state.size, inUse: state.inUse, waiting: state.waiting,
                isServerUnreachable: state.connectFailure != nil)
        }
    }

    /// Lends a connection for as long as `body` runs; it must not be kept.
    public func withConnection<R: Sendable>(_ body: (PostgresConnection) async throws -> R) async throws -> R {
        try await leased { connection, deadline in
            if await !connection.isUsable { try await self.connect(connection, deadline) }
            do {
                let result = try await body(connection)
                await connection.settle()
                return result
            } catch {
                await connection.settle()
                throw error
            }
        }
    }

    /// Runs `body` between BEGIN and COMMIT; a throwing `body` is rolled back and its error thrown on.
    ///
    /// Returning means committed. `ambiguousCommit` means: read again what was written. Any other error means that
    /// nothing was committed, and the whole call may be repeated when `PostgresError.isRetriable` says so.
    public func withTransaction<R: Sendable>(_ body: (PostgresConnection) async throws -> R) async throws -> R {
        try await leased { connection, deadline in
            try await self.begin(connection, deadline)
            do {
                let result = try await body(connection)
                try await connection.commit()
                return result
            } catch {
                await connection.settle()
                throw error
            }
        }
    }

    /// One statement on a connection of the pool. See `PostgresConnection` for what a lost connection means here.
    public func query(_ sql: String, _ parameters: [PostgresParameter] = []) async throws -> PostgresRows {
        try await leased { connection, deadline in
            if let rows = try await connection.queryIfUsable(sql, parameters) { return rows }
            try await self.connect(connection, deadline)
            return try await connection.queryAlone(sql, parameters)
        }
    }

    /// Refuses new leases, fails those who wait, and returns when every leased connection has come back and is closed,
    /// or after `grace`; a connection that comes back later is closed then. Running statements are not cancelled.
    public func close(grace: Duration = .seconds(10)) async {
        let (connections, waiters) = state.withLock { $0.close() }
        for waiter in waiters { waiter.continuation.resume(throwing: Self.closedError) }
        for connection in connections { await connection.close() }
        let deadline = ContinuousClock.now + grace
        async let _: Void = stopWaitingForDrain(at: deadline)
        await withCheckedContinuation { continuation in
            let isWaiting = state.withLock { state in
                guard state.inUse > 0, deadline > .now, !Task.isCancelled else { return false }
                state.awaitDrain(continuation)
                return true
            }
            if !isWaiting { continuation.resume() }
        }
    }

    /// Cancellation ends the wait as well.
    private func stopWaitingForDrain(at deadline: ContinuousClock.Instant) async {
        try? await Task.sleep(until: deadline)
        for closer in state.withLock({ $0.takeClosers() }) { closer.resume() }
    }

    // MARK: Lease

    private func leased<R: Sendable>(
        _ body: (PostgresConnection, ContinuousClock.Instant) async throws -> R
    ) async throws -> R {
        let deadline = ContinuousClock.now + leaseTimeout
        let connection = try await lease(by: deadline)
        do {
            let result = try await body(connection, deadline)
            await release(connection)
            return result
        } catch {
            await release(connection)
            throw error
        }
    }

    private func lease(by deadline: ContinuousClock.Instant) async throws -> PostgresConnection {
        let (decision, id) = state.withLock { ($0.lease(), $0.newID()) }
        return switch decision {
        case .granted(let connection): connection
        case .create(let number): PostgresConnection(configuration, name: "postgres-\(number)")
        case .wait: try await wait(id, by: deadline)
        case .full: throw Self.full(metrics.size)
        case .closed: throw Self.closedError
        }
    }

    private func wait(_ id: UInt64, by deadline: ContinuousClock.Instant) async throws -> PostgresConnection {
        async let _: Void = expire(id, at: deadline)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in enqueue(id, continuation, deadline) }
        } onCancel: {
            state.withLock { $0.removeWaiter(id) }?.resume(throwing: CancellationError())
        }
    }

    /// Whatever may have happened since `lease()` decided is looked at again under the lock that also guards expiry,
    /// cancellation and release, so none of them can miss this waiter.
    private func enqueue(_ id: UInt64, _ continuation: PoolState.Continuation, _ deadline: ContinuousClock.Instant) {
        let outcome = state.withLock { state -> Result<PostgresConnection, any Error>? in
            if Task.isCancelled { return .failure(CancellationError()) }
            switch state.lease() {
            case .granted(let connection): return .success(connection)
            case .create(let number):
                return .success(PostgresConnection(configuration, name: "postgres-\(number)"))
            case .closed: return .failure(Self.closedError)
            case .full: return .failure(Self.full(state.size))
            case .wait:
                guard deadline > .now else { return .failure(Self.timeout(state)) }
                state.enqueue(PoolState.Waiter(id: id, continuation: continuation))
                return nil
            }
        }
        if let outcome { continuation.resume(with: outcome) }
    }

    private func expire(_ id: UInt64, at deadline: ContinuousClock.Instant) async {
        guard (try? await Task.sleep(until: deadline)) != nil else { return }
        let (waiter, error) = state.withLock { ($0.removeWaiter(id), Self.timeout($0)) }
        waiter?.resume(throwing: error)
    }

    private func release(_ connection: PostgresConnection) async {
        switch state.withLock({ $0.release(connection) }) {
        case .handOver(let waiter, let connection): waiter.resume(returning: connection)
        case .keep: break
        case .close(let connection):
            await connection.close()
            for closer in state.withLock({ $0.closedOne() }) { closer.resume() }
        }
    }

    // MARK: Connecting

    /// A connection that broke while idle is noticed here at the latest; nothing has been done on it yet.
    private func begin(_ connection: PostgresConnection, _ deadline: ContinuousClock.Instant) async throws {
        while true {
            do {
                if try await connection.beginIfUsable() { return }
            } catch let error as PostgresError where error.code == .connectionLost && deadline > .now {
            }
            try await connect(connection, deadline)
        }
    }

    private func connect(_ connection: PostgresConnection, _ deadline: ContinuousClock.Instant) async throws {
        var pause = Duration.milliseconds(50)
        while true {
            do {
                try await connection.connect(timeout: max(.milliseconds(1), deadline - .now))
                state.withLock { $0.connectFailure = nil }
                return
            } catch let error as PostgresError {
                let isClosed = state.withLock { state in
                    state.connectFailure = error
                    return state.isClosed
                }
                if isClosed { throw Self.closedError }
                guard ContinuousClock.now + pause < deadline else { throw error }
            }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(1))
        }
    }

    private static func timeout(_ state: PoolState) -> PostgresError {
        state.connectFailure
            ?? PostgresError(
                .poolTimeout, message: "all \(state.size) connections stayed busy; \(state.waiting) more callers wait")
    }

    private static func full(_ size: Int) -> PostgresError {
        PostgresError(.poolFull, message: "too many callers already wait for one of \(size) connections")
    }

    private static let closedError = PostgresError(.poolClosed, message: "the pool is closed")
}
