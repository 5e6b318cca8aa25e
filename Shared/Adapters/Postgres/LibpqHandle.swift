import CLibpq

#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// The only type that holds a `PGconn *`. Not `Sendable`: it never leaves the actor that owns it.
///
/// The socket is non-blocking inside libpq, and every wait is a `poll` with a deadline. A method that throws
/// `connectionLost` leaves the handle unusable; its owner drops it.
@safe
struct LibpqHandle: ~Copyable {
    typealias Deadline = ContinuousClock.Instant

    enum TransactionStatus { case idle, open, failed, busy, unknown }

    private let raw: OpaquePointer

    init(_ configuration: PostgresConfiguration, timeout: Duration) throws(PostgresError) {
        let target = configuration.connectionString
        try Self.refuseNUL(in: target, name: "the connection settings")
        guard let raw = unsafe PQconnectStart(target) else {
            throw PostgresError(.connectionFailed, message: "out of memory")
        }
        unsafe _ = PQsetNoticeReceiver(raw, { _, _ in }, nil)
        if let reason = unsafe Self.finishConnecting(raw, by: .now + timeout) {
            unsafe PQfinish(raw)
            throw PostgresError(.connectionFailed, message: "\(configuration): \(reason)")
        }
        unsafe _ = PQsetnonblocking(raw, 1)
        unsafe self.raw = raw
    }

    deinit { unsafe PQfinish(raw) }

    private static func finishConnecting(_ raw: OpaquePointer, by deadline: Deadline) -> String? {
        var next = unsafe PQstatus(raw) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING
        while next != PGRES_POLLING_OK {
            guard next != PGRES_POLLING_FAILED else { return unsafe text(PQerrorMessage(raw)) }
            let events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT
            guard unsafe wait(raw, for: events, until: deadline) != 0 else {
                return "no answer within the time allowed"
            }
            next = unsafe PQconnectPoll(raw)
        }
        return nil
    }

    // MARK: State

    func backendPID() -> Int32 { unsafe PQbackendPID(raw) }

    func transactionStatus() -> TransactionStatus {
        switch unsafe PQtransactionStatus(raw) {
        case PQTRANS_IDLE: .idle
        case PQTRANS_INTRANS: .open
        case PQTRANS_INERROR: .failed
        case PQTRANS_ACTIVE: .busy
        default: .unknown
        }
    }

    /// Reads what the server sent unasked, such as its farewell, without waiting.
    func isAlive() -> Bool {
        var reads = 0
        while unsafe PQstatus(raw) == CONNECTION_OK, reads < 8,
            unsafe Self.wait(raw, for: POLLIN, until: .now) != 0
        {
            guard unsafe PQconsumeInput(raw) == 1 else { return false }
            unsafe _ = PQisBusy(raw)
            reads += 1
        }
        return unsafe PQstatus(raw) == CONNECTION_OK
    }

    // MARK: Statements

    func prepare(
        _ sql: String, name: String, types: [UInt32], deadline: Deadline?
    ) throws(PostgresError) {
        try Self.refuseNUL(in: sql, name: "the statement")
        guard unsafe PQsendPrepare(raw, name, sql, Int32(types.count), types) == 1 else { throw sendFailure() }
        _ = try finish(deadline)
    }

    func execute(
        name: String, _ parameters: [PostgresParameter], binaryResult: Bool, deadline: Deadline?
    ) throws(PostgresError) -> PostgresRows {
        let buffer = try ParameterBuffer(parameters)
        let binary = [Int32](repeating: 1, count: parameters.count)
        let isSent = unsafe buffer.bytes.withUnsafeBytes { bytes in
            let values = unsafe buffer.offsets.map { offset in
                unsafe offset.flatMap { unsafe bytes.baseAddress?.advanced(by: $0).assumingMemoryBound(to: CChar.self) }
            }
            return unsafe PQsendQueryPrepared(
                raw, name, Int32(values.count), values, buffer.lengths, binary, binaryResult ? 1 : 0) == 1
        }
        guard isSent else { throw sendFailure() }
        return try finish(deadline)
    }

    /// The simple protocol: one or several statements, no parameters, the last result.
    func run(_ script: String, deadline: Deadline?) throws(PostgresError) -> PostgresRows {
        try Self.refuseNUL(in: script, name: "the script")
        guard unsafe PQsendQuery(raw, script) == 1 else { throw sendFailure() }
        return try finish(deadline)
    }

    // MARK: COPY FROM STDIN

    func copyBegin(_ sql: String, deadline: Deadline?) throws(PostgresError) {
        try Self.refuseNUL(in: sql, name: "the statement")
        guard unsafe PQsendQuery(raw, sql) == 1 else { throw sendFailure() }
        guard let result = try next(deadline) else { throw lost("no result") }
        guard result.status != PGRES_COPY_IN else { return }
        let failure = result.failure()
        _ = try finish(deadline)
        throw failure ?? PostgresError(.invalidState, message: "the statement is not COPY … FROM STDIN")
    }

    func copyWrite(_ chunk: [UInt8], deadline: Deadline?) throws(PostgresError) {
        let isAccepted = unsafe chunk.withUnsafeBytes { bytes in
            unsafe PQputCopyData(
                raw, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count)) == 1
        }
        guard isAccepted else {
            _ = try finish(deadline)
            throw PostgresError(.invalidState, message: "no COPY is in progress")
        }
        try flush(deadline)
    }

    /// A reason makes the server discard what it was sent; it answers with an error.
    func copyEnd(reason: String?, deadline: Deadline?) throws(PostgresError) -> PostgresRows {
        guard unsafe PQputCopyEnd(raw, reason) == 1 else {
            _ = try finish(deadline)
            throw PostgresError(.invalidState, message: "no COPY is in progress")
        }
        return try finish(deadline)
    }

    // MARK: Waiting

    /// Sends what is buffered and reads every result of the command: the first failure, or the last result.
    private func finish(_ deadline: Deadline?) throws(PostgresError) -> PostgresRows {
        try flush(deadline)
        var rows = PostgresRows.none
        var failure: PostgresError?
        while let result = try next(deadline) {
            switch result.status {
            case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY:
                rows = result.rows()
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                throw PostgresError(.connectionLost, message: "COPY needs copyBegin; the connection was closed")
            default:
                failure = failure ?? result.failure()
            }
        }
        if unsafe PQstatus(raw) != CONNECTION_OK {
            throw failure?.with(.connectionLost) ?? lost(unsafe Self.firstLine(PQerrorMessage(raw)))
        }
        if let failure { throw failure }
        return rows
    }

    /// A failed write is not reported here: the server's reason, if it gave one, is waiting to be read.
    private func flush(_ deadline: Deadline?) throws(PostgresError) {
        while unsafe PQflush(raw) == 1 {
            let events = unsafe Self.wait(raw, for: POLLIN | POLLOUT, until: deadline)
            guard events != 0 else { throw lost("the server took no data within the time allowed") }
            if events & POLLIN != 0, unsafe PQconsumeInput(raw) == 0 { return }
        }
    }

    private func next(_ deadline: Deadline?) throws(PostgresError) -> LibpqResult? {
        try flush(deadline)
        while unsafe PQisBusy(raw) == 1 {
            guard unsafe Self.wait(raw, for: POLLIN, until: deadline) != 0 else {
                throw lost("the server gave no answer within the time allowed")
            }
            if unsafe PQconsumeInput(raw) == 0 { break }
        }
        guard let result = unsafe PQgetResult(raw) else { return nil }
        return unsafe LibpqResult(raw: result)
    }

    /// The events that came, 0 at the deadline.
    private static func wait(_ raw: OpaquePointer, for events: Int32, until deadline: Deadline?) -> Int32 {
        while true {
            var descriptor = unsafe pollfd(fd: PQsocket(raw), events: Int16(events), revents: 0)
            let timeout = deadline.map { Int32(max(.zero, $0 - .now).wholeMilliseconds) } ?? -1
            let ready = unsafe poll(&descriptor, 1, timeout)
            if ready > 0 { return Int32(descriptor.revents) }
            if ready < 0, errno != EINTR { return POLLERR }
            if ready == 0, let deadline, deadline <= .now { return 0 }
        }
    }

    // MARK: Errors

    private func sendFailure() -> PostgresError {
        let reason = unsafe Self.firstLine(PQerrorMessage(raw))
        return unsafe PQstatus(raw) == CONNECTION_OK
            ? PostgresError(.invalidState, message: reason) : lost(reason)
    }

    private func lost(_ reason: String) -> PostgresError { PostgresError(.connectionLost, message: reason) }

    private static func refuseNUL(in text: String, name: String) throws(PostgresError) {
        guard !text.utf8.contains(0) else {
            throw PostgresError(.invalidParameter, message: "\(name): \(PostgresParameter.nulDefect)")
        }
    }

    /// libpq's messages end with a line break and may have several lines.
    fileprivate static func text(_ pointer: UnsafePointer<CChar>?) -> String {
        guard let pointer = unsafe pointer else { return "" }
        let lines = unsafe String(cString: pointer).split { $0.isNewline || $0 == "\t" }
        return lines.joined(separator: " ")
    }

    /// Without the advice that libpq appends.
    fileprivate static func firstLine(_ pointer: UnsafePointer<CChar>?) -> String {
        guard let pointer = unsafe pointer else { return "" }
        return unsafe String(cString: pointer).split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
    }
}

/// The only type that holds a `PGresult *`.
@safe
private struct LibpqResult: ~Copyable {
    private let raw: OpaquePointer

    init(raw: OpaquePointer) { unsafe self.raw = raw }

    deinit { unsafe PQclear(raw) }

    var status: ExecStatusType { unsafe PQresultStatus(raw) }

    func rows() -> PostgresRows {
        let rowCount = unsafe Int(PQntuples(raw))
        let columnCount = unsafe Int(PQnfields(raw))
        var columns: [String] = []
        var types: [UInt32] = []
        for column in 0..<Int32(columnCount) {
            columns.append(unsafe PQfname(raw, column).map { unsafe String(cString: $0) } ?? "")
            types.append(unsafe PQftype(raw, column))
        }
        var cells: [PostgresRows.Cell] = []
        cells.reserveCapacity(rowCount * columnCount)
        var total = 0
        for row in 0..<Int32(rowCount) {
            for column in 0..<Int32(columnCount) {
                let length = unsafe Int(PQgetlength(raw, row, column))
                let isNull = unsafe length == 0 && PQgetisnull(raw, row, column) == 1
                cells.append(PostgresRows.Cell(start: total, length: isNull ? -1 : length))
                total += length
            }
        }
        let tag = unsafe LibpqHandle.text(PQcmdStatus(raw))
        let affected = unsafe Int(LibpqHandle.text(PQcmdTuples(raw))) ?? 0
        return PostgresRows(
            storage: PostgresRows.Storage(
                columns: columns, types: types, rowCount: rowCount, affectedRows: affected, tag: tag, cells: cells,
                bytes: copy(cells, columnCount: columnCount, total: total),
                isBinary: unsafe PQbinaryTuples(raw) == 1))
    }

    private func copy(_ cells: [PostgresRows.Cell], columnCount: Int, total: Int) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: total) { buffer, initialized in
            guard let target = buffer.baseAddress else { return }
            for (index, cell) in cells.enumerated() where cell.length > 0 {
                let (row, column) = index.quotientAndRemainder(dividingBy: columnCount)
                guard let value = unsafe PQgetvalue(raw, Int32(row), Int32(column)) else { continue }
                unsafe memcpy(target + cell.start, value, cell.length)
            }
            initialized = total
        }
    }

    /// `nil` unless the server or libpq reports an error.
    func failure() -> PostgresError? {
        guard status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE else { return nil }
        return PostgresError(
            .server, sqlState: field("C"), constraint: field("n"),
            message: unsafe field("M") ?? LibpqHandle.firstLine(PQresultErrorMessage(raw)), detail: field("D"),
            hint: field("H"))
    }

    private func field(_ code: Unicode.Scalar) -> String? {
        guard let value = unsafe PQresultErrorField(raw, Int32(code.value)) else { return nil }
        return unsafe String(cString: value)
    }
}

extension PostgresError {
    fileprivate func with(_ code: Code) -> PostgresError {
        PostgresError(
            code, sqlState: sqlState, constraint: constraint, message: message, detail: detail, hint: hint)
    }
}
