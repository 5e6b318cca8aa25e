import BlockingExecutor

/// One session with the server, on a thread of its own; calls on it wait there and never occupy the cooperative pool.
///
/// Statements are prepared once per session and SQL text, at most 256 at a time: write SQL with `$1`, never with values
/// spelled into it. Calls run one after the other. Once a call throws `connectionLost` or `ambiguousCommit` the session
/// is over and everything uncommitted is rolled back; `connect()` opens a new one.
///
/// A statement sent outside a transaction on a connection that then breaks may have taken effect. Write inside a
/// transaction: there only COMMIT can be ambiguous, and it says so.
public actor PostgresConnection {
    public nonisolated let name: String
    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe thread.asUnownedSerialExecutor() }

    private let configuration: PostgresConfiguration
    private let thread: DedicatedThread
    private var handle: LibpqHandle?
    private var statements = StatementCache()
    private var isCopying = false
    /// What `limitStatements(to:)` set for the open transaction.
    private var transactionLimit: Duration??

    public init(_ configuration: PostgresConfiguration, name: String) {
        self.configuration = configuration
        self.name = name
        thread = DedicatedThread(name: name)
    }

    deinit { thread.stop() }

    /// Opens the session; replaces one that is open.
    public func connect() throws { try connect(timeout: configuration.connectTimeout) }

    func connect(timeout: Duration) throws {
        close()
        handle = try LibpqHandle(configuration, timeout: min(timeout, configuration.connectTimeout))
    }

    /// Ends the session; an open transaction is rolled back by the server.
    public func close() {
        handle = nil
        statements = StatementCache()
        isCopying = false
        transactionLimit = nil
    }

    /// The session is open as far as can be known without asking the server.
    public var isUsable: Bool {
        guard handle != nil else { return false }
        if handle!.isAlive() { return true }
        close()
        return false
    }

    /// The server's process for this session; `nil` when closed.
    public var backendPID: Int32? {
        guard handle != nil else { return nil }
        return handle!.backendPID()
    }

    // MARK: Statements

    /// Runs one statement and returns all its rows.
    ///
    /// - Parameter inBinary: the server sends values in their binary forms, which is quicker for many rows. Only
    ///   integers, texts, booleans, uuids, byte strings and timestamps can be read from such a result.
    public func query(
        _ sql: String, _ parameters: [PostgresParameter] = [], inBinary: Bool = false
    ) throws -> PostgresRows {
        let key = StatementCache.Key(sql: sql, parameters: parameters)
        do throws(PostgresError) {
            return try execute(key, parameters, inBinary)
        } catch {
            guard Self.invalidatesPlan(error) else { throw error }
            statements.remove(key)
            guard try transactionStatus() == .idle else { throw error }
            return try execute(key, parameters, inBinary)
        }
    }

    /// Runs several statements without parameters, as one implicit transaction unless the script says otherwise.
    /// For migrations: nothing may be spelled into `script`, and only the server's time limit applies.
    public func execute(script: String) throws {
        try refuseDuringCopy()
        _ = try run { handle throws(PostgresError) in try handle.run(script, deadline: nil) }
    }

    private func execute(
        _ key: StatementCache.Key, _ parameters: [PostgresParameter], _ inBinary: Bool
    ) throws(PostgresError) -> PostgresRows {
        try refuseDuringCopy()
        let deadline = answerDeadline()
        let statement = try prepared(key, deadline)
        return try run { handle throws(PostgresError) in
            try handle.execute(name: statement, parameters, binaryResult: inBinary, deadline: deadline)
        }
    }

    private func prepared(
        _ key: StatementCache.Key, _ deadline: LibpqHandle.Deadline?
    ) throws(PostgresError) -> String {
        if let name = statements.name(of: key) { return name }
        let name = statements.newName()
        try run { handle throws(PostgresError) in
            try handle.prepare(key.sql, name: name, types: key.types, deadline: deadline)
        }
        if let evicted = statements.insert(key, name: name) {
            _ = try run { handle throws(PostgresError) in
                try handle.run("DEALLOCATE \(evicted)", deadline: deadline)
            }
        }
        return name
    }

    /// A migration changed what the statement returns, or something discarded the session's statements.
    private static func invalidatesPlan(_ error: PostgresError) -> Bool {
        guard error.code == .server else { return false }
        return error.sqlState == "26000"
            || error.sqlState == "0A000" && error.message == "cached plan must not change result type"
    }

    // MARK: Transactions

    public func begin() throws {
        try refuseDuringCopy()
        guard try transactionStatus() == .idle else {
            throw PostgresError(.invalidState, message: "a transaction is already open; end it before begin()")
        }
        let deadline = answerDeadline()
        _ = try run { handle throws(PostgresError) in try handle.run("BEGIN", deadline: deadline) }
    }

    /// Waits until the server has committed.
    ///
    /// Throws `ambiguousCommit` when the connection broke or the answer stayed away after COMMIT was sent, and
    /// `transactionAborted` when an earlier statement had failed. With any other error it is certain that nothing was
    /// committed.
    public func commit() throws {
        try refuseDuringCopy()
        switch try transactionStatus() {
        case .open, .failed: break
        default: throw PostgresError(.invalidState, message: "no transaction is open; commit() follows begin()")
        }
        guard isUsable else {
            throw PostgresError(.connectionLost, message: "the connection ended before COMMIT; rolled back")
        }
        let deadline = answerDeadline()
        let tag: String
        do throws(PostgresError) {
            tag = try run { handle throws(PostgresError) in try handle.run("COMMIT", deadline: deadline).storage.tag }
        } catch {
            transactionLimit = nil
            guard error.code == .connectionLost else { throw error }
            throw PostgresError(
                .ambiguousCommit, sqlState: error.sqlState,
                message: "the connection ended during COMMIT: \(error.message)")
        }
        transactionLimit = nil
        guard tag == "COMMIT" else {
            throw PostgresError(
                .transactionAborted, message: "a statement of the transaction had failed; it was rolled back")
        }
    }

    /// Does nothing without an open transaction.
    public func rollback() throws {
        if isCopying { copyCancel(reason: "rolled back") }
        guard handle != nil, try transactionStatus() != .idle else { return }
        let deadline = answerDeadline()
        _ = try run { handle throws(PostgresError) in try handle.run("ROLLBACK", deadline: deadline) }
        transactionLimit = nil
    }

    /// Changes the time limit of statements until the open transaction ends; `nil` means none. A plain `SET` would
    /// leave the client's own limit behind.
    public func limitStatements(to limit: Duration?) throws {
        guard try transactionStatus() == .open else {
            throw PostgresError(.invalidState, message: "limitStatements(to:) needs an open transaction")
        }
        let milliseconds = String(limit?.wholeMilliseconds ?? 0)
        _ = try query("SELECT set_config('statement_timeout', $1, true)", [.text(milliseconds)])
        transactionLimit = .some(limit)
    }

    // MARK: COPY

    /// Starts `COPY … FROM STDIN`. Until `copyEnd` or `copyCancel` the connection takes only chunks.
    ///
    /// The statement's time limit covers the whole COPY, the caller's pauses included: see `limitStatements(to:)`.
    public func copyBegin(_ sql: String) throws {
        try refuseDuringCopy()
        let deadline = answerDeadline()
        try run { handle throws(PostgresError) in try handle.copyBegin(sql, deadline: deadline) }
        isCopying = true
    }

    /// Hands a chunk to the network; rows may span chunks. Returns once the chunk is sent, so a slow server slows the
    /// caller. A bad row is usually reported by `copyEnd`. Chunks of 16 KiB and more are cheap.
    public func copyWrite(_ chunk: [UInt8]) throws {
        try requireCopy()
        let deadline = answerDeadline()
        do {
            try run { handle throws(PostgresError) in try handle.copyWrite(chunk, deadline: deadline) }
        } catch {
            isCopying = false
            throw error
        }
    }

    /// Ends the COPY and returns the number of rows.
    @discardableResult
    public func copyEnd() throws -> Int {
        try requireCopy()
        isCopying = false
        let deadline = answerDeadline()
        return try run { handle throws(PostgresError) in
            try handle.copyEnd(reason: nil, deadline: deadline).affectedRows
        }
    }

    /// Makes the server discard the COPY. An open transaction is failed afterwards: roll it back.
    public func copyCancel(reason: String) {
        guard isCopying else { return }
        isCopying = false
        let deadline = answerDeadline()
        let safe = String(String.UnicodeScalarView(reason.unicodeScalars.filter { $0 != "\0" }))
        // The server always answers with an error: the one that was asked for, or the reason why the session is over.
        _ = try? run { handle throws(PostgresError) in try handle.copyEnd(reason: safe, deadline: deadline) }
    }

    // MARK: For the pool, which saves a change of threads by asking and acting in one call

    /// `nil` when there is no session; nothing was sent then.
    func queryIfUsable(_ sql: String, _ parameters: [PostgresParameter]) throws -> PostgresRows? {
        guard isUsable else { return nil }
        return try queryAlone(sql, parameters)
    }

    /// A statement that opens a transaction is refused: the next holder of the connection would be inside it.
    func queryAlone(_ sql: String, _ parameters: [PostgresParameter]) throws -> PostgresRows {
        let rows = try query(sql, parameters)
        guard try transactionStatus() == .idle else {
            settle()
            throw PostgresError(.invalidState, message: "a transaction cannot span pool queries; use withTransaction")
        }
        return rows
    }

    /// False when there is no session.
    func beginIfUsable() throws -> Bool {
        guard isUsable else { return false }
        try begin()
        return true
    }

    /// Leaves the session idle, or closes it.
    func settle() {
        if isCopying { copyCancel(reason: "abandoned") }
        do {
            try rollback()
            if handle != nil, try transactionStatus() != .idle { close() }
        } catch {
            close()
        }
    }

    // MARK: State

    /// The one place that uses the handle: a lost connection is dropped here, together with what belonged to it.
    private func run<Value>(
        _ body: (borrowing LibpqHandle) throws(PostgresError) -> Value
    ) throws(PostgresError) -> Value {
        guard handle != nil else { throw Self.notOpen }
        do throws(PostgresError) {
            return try body(handle!)
        } catch {
            if error.code == .connectionLost { close() }
            throw error
        }
    }

    private func transactionStatus() throws(PostgresError) -> LibpqHandle.TransactionStatus {
        guard handle != nil else { throw Self.notOpen }
        return handle!.transactionStatus()
    }

    private static let notOpen = PostgresError(
        .connectionLost, message: "the connection is not open; what was uncommitted is rolled back")

    private func answerDeadline() -> LibpqHandle.Deadline? {
        (transactionLimit ?? configuration.statementTimeout).map { .now + $0 + configuration.answerMargin }
    }

    private func refuseDuringCopy() throws(PostgresError) {
        guard !isCopying else {
            throw PostgresError(.invalidState, message: "a COPY is in progress; copyEnd() or copyCancel() it first")
        }
    }

    private func requireCopy() throws(PostgresError) {
        guard isCopying else {
            throw PostgresError(.invalidState, message: "no COPY is in progress; call copyBegin() first")
        }
    }
}
