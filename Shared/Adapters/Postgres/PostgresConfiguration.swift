/// Where a PostgreSQL server is and how to speak to it.
///
/// Every connection speaks UTF-8, UTC and ISO dates whatever the server's defaults are, because results are decoded
/// from their text form. TCP keep-alives and `tcp_user_timeout` end a connection to a machine that vanished. TLS
/// follows libpq: `PGSSLMODE`, `PGSSLROOTCERT` and their relatives are honoured, the default is `prefer`.
///
/// Limits: settings are sent with the start-up packet and statements are prepared per session, so a transaction-pooling
/// proxy between client and server must support both.
public struct PostgresConfiguration: Sendable, CustomStringConvertible {
    public var host: String
    public var port: Int
    public var database: String
    public var user: String
    public var password: String
    public var applicationName: String
    public var searchPath: String
    public var connectTimeout: Duration

    /// The server ends a statement after this long. The client waits a few seconds more and then declares the
    /// connection lost, so that a server which stopped answering cannot hold a caller. `nil`: no limit on either side.
    public var statementTimeout: Duration?

    /// The server ends a statement that has waited this long for another transaction's lock, with an error that leaves
    /// nothing done. `nil`: only `statementTimeout` ends the wait.
    public var lockTimeout: Duration?

    /// The server ends a session whose client leaves a transaction open and says nothing for this long: a process that was
    /// stopped in the middle must not keep its row locks from the one that takes over.
    static let idleTransactionTimeout: Duration = .seconds(20)

    /// Plans are made once per statement and connection, and go by indexes. For sessions whose every statement reaches few
    /// rows by a full key: without it, a plan made while a day's tables were empty, or had no statistics yet, reads them
    /// whole once they are full, and statements with arrays are planned again each time they run.
    public var plansByKey = false

    /// How much longer than `statementTimeout` the client waits for an answer.
    var answerMargin: Duration = .seconds(5)

    /// `host` may be a directory that holds the server's Unix socket.
    public init(
        host: String, port: Int, database: String, user: String, password: String, applicationName: String,
        searchPath: String = "rollcall", connectTimeout: Duration = .seconds(5),
        statementTimeout: Duration? = .seconds(60)
    ) {
        self.host = host
        self.port = port
        self.database = database
        self.user = user
        self.password = password
        self.applicationName = applicationName
        self.searchPath = searchPath
        self.connectTimeout = connectTimeout
        self.statementTimeout = statementTimeout
    }

    /// Never shows the password.
    public var description: String { "\(user)@\(host):\(port)/\(database)" }

    /// libpq's connection string.
    var connectionString: String {
        var settings: [(name: String, value: String)] = [
            ("search_path", searchPath),
            ("statement_timeout", String(statementTimeout?.wholeMilliseconds ?? 0)),
            ("lock_timeout", String(lockTimeout?.wholeMilliseconds ?? 0)),
            ("idle_in_transaction_session_timeout", String(Self.idleTransactionTimeout.wholeMilliseconds)),
            // Our statements are short: compiling one takes longer than running it.
            ("jit", "off"),
            ("client_min_messages", "warning"),
            ("datestyle", "ISO"),
            ("intervalstyle", "iso_8601"),
            ("timezone", "UTC"),
            ("bytea_output", "hex"),
        ]
        if plansByKey {
            settings += [
                ("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"), ("enable_material", "off"),
            ]
        }
        let options = settings.map { "-c \($0.name)=\(Self.escaped($0.value, [" ", "\\"]))" }.joined(separator: " ")
        let keywords: [(name: String, value: String)] = [
            ("host", host), ("port", String(port)), ("dbname", database), ("user", user), ("password", password),
            ("application_name", applicationName), ("client_encoding", "UTF8"), ("gssencmode", "disable"),
            ("keepalives", "1"), ("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "3"),
            ("tcp_user_timeout", "20000"), ("options", options),
        ]
        return keywords.map { "\($0.name)='\(Self.escaped($0.value, ["'", "\\"]))'" }.joined(separator: " ")
    }

    private static func escaped(_ text: String, _ special: [Unicode.Scalar]) -> String {
        var escaped = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            if special.contains(scalar) { escaped.append("\\") }
            escaped.append(scalar)
        }
        return String(escaped)
    }
}

extension PostgresConfiguration: CustomReflectable {
    public var customMirror: Mirror { Mirror(self, children: ["target": description]) }
}

extension Duration {
    /// At least 1 for a positive duration, because PostgreSQL and `poll` read 0 as something else.
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        let whole = seconds.multipliedReportingOverflow(by: 1_000)
        guard !whole.overflow, whole.partialValue < Int64(Int32.max) else { return Int64(Int32.max) }
        let milliseconds = whole.partialValue + attoseconds / 1_000_000_000_000_000
        return self > .zero ? max(1, milliseconds) : 0
    }
}
