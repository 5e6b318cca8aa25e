/// Why a PostgreSQL operation failed.
///
/// `description` is safe to log: it names the condition, the SQLSTATE and the constraint, never a value that was sent.
/// PostgreSQL quotes the offending value in the message of a data exception (class 22) and in the detail of most
/// errors, so those stay in `message` and `detail`.
public struct PostgresError: Error, Sendable {
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        enum Base: String {
            case connectionFailed, connectionLost, server, poolClosed, poolTimeout, poolFull, decoding, ambiguousCommit
            case transactionAborted, invalidParameter, invalidState
        }

        let base: Base

        /// The server could not be reached or refused the log-in.
        public static let connectionFailed = Self(base: .connectionFailed)
        /// The connection ended or stopped answering. An open transaction is rolled back. A statement sent outside a
        /// transaction may or may not have taken effect.
        public static let connectionLost = Self(base: .connectionLost)
        /// The server refused a statement; the connection is intact.
        public static let server = Self(base: .server)
        public static let poolClosed = Self(base: .poolClosed)
        /// Every connection stayed busy until the lease deadline.
        public static let poolTimeout = Self(base: .poolTimeout)
        /// As many callers wait for a connection as the pool allows.
        public static let poolFull = Self(base: .poolFull)
        /// A result does not hold what the caller asked for.
        public static let decoding = Self(base: .decoding)
        /// The connection ended between sending COMMIT and its answer: the transaction is committed or it is not.
        /// Only reading the rows again can tell.
        public static let ambiguousCommit = Self(base: .ambiguousCommit)
        /// COMMIT was asked for after a statement of the transaction had failed: it is rolled back.
        public static let transactionAborted = Self(base: .transactionAborted)
        /// A value that PostgreSQL cannot store; nothing was sent.
        public static let invalidParameter = Self(base: .invalidParameter)
        /// The call does not fit what the connection is doing.
        public static let invalidState = Self(base: .invalidState)

        public var description: String { base.rawValue }
    }

    public let code: Code
    public let sqlState: String?
    public let constraint: String?
    /// The server's primary message, or ours. In a data exception (class 22) it quotes the value, and `description`
    /// leaves it out.
    public let message: String
    /// The server's detail. Usually quotes values: not for logs.
    public let detail: String?
    public let hint: String?

    public init(
        _ code: Code, sqlState: String? = nil, constraint: String? = nil, message: String, detail: String? = nil,
        hint: String? = nil
    ) {
        self.code = code
        self.sqlState = sqlState
        self.constraint = constraint
        self.message = message
        self.detail = detail
        self.hint = hint
    }

    /// The same work may succeed when it is done again from its beginning.
    ///
    /// True for a lost or refused connection, serialization failure, deadlock, lack of resources and server shut-down;
    /// never for a bad value or a violated constraint, and never after an ambiguous commit.
    public var isRetriable: Bool {
        switch code {
        case .connectionFailed, .connectionLost, .poolTimeout, .poolFull: true
        case .server:
            sqlState.map { state in
                state == "40001" || state == "40P01" || ["08", "53", "57P0"].contains(where: state.hasPrefix)
            } ?? false
        default: false
        }
    }
}

extension PostgresError: CustomStringConvertible {
    public var description: String {
        var text = "PostgreSQL: \(code)"
        if let sqlState { text += " \(sqlState)" }
        if let constraint { text += " (constraint \(constraint))" }
        let quotesValues = sqlState?.hasPrefix("22") ?? false
        return text + (quotesValues ? ": a value was refused; the message quotes it and is withheld" : ": \(message)")
    }
}
