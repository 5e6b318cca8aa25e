import Logging
import Postgres
import Runtime

/// Names the lease under which a process takes work.
struct LeaseToken: Hashable, Sendable, CustomStringConvertible {
    let high: UInt64
    let low: UInt64

    /// As PostgreSQL reads a uuid.
    var description: String {
        [high, low].map { word in
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }

    var parameter: PostgresParameter { .uuid(high: high, low: low) }
}

/// The right of this process to take chunks and to put messages on the wire.
///
/// One row in `sender_lease`. It is renewed while it is alive and never afterwards: whoever finds it expired may take over
/// what it held, so a process that was late takes a new token and begins anew. `current` turns nil by this machine's own
/// clock at the latest when the row expires by the database's.
actor SenderLease {
    private struct Held {
        let token: LeaseToken
        let end: ContinuousClock.Instant
    }

    private static let take = """
        INSERT INTO sender_lease (instance, lease_until)
        VALUES ($1, clock_timestamp() + $2 * interval '1 microsecond')
        RETURNING token
        """
    private static let renew = """
        UPDATE sender_lease SET lease_until = clock_timestamp() + $2 * interval '1 microsecond'
         WHERE token = $1 AND lease_until > clock_timestamp()
        RETURNING token
        """
    private static let end = "DELETE FROM sender_lease WHERE token = $1"
    /// Attempts and chunks that still name a token so old count as abandoned without its row.
    private static let forget = "DELETE FROM sender_lease WHERE lease_until < clock_timestamp() - interval '1 hour'"

    private let database: PostgresPool
    private let duration: Duration
    private let instance: String
    private let logger: Logger
    private let lost: Counter
    private var held: Held?

    init(database: PostgresPool, duration: Duration, instance: String, logger: Logger, lost: Counter) {
        self.database = database
        self.duration = duration
        self.instance = instance
        self.logger = logger
        self.lost = lost
    }

    /// The token to work under, or nil while there is none.
    var current: LeaseToken? {
        guard let held, ContinuousClock.now < held.end else { return nil }
        return held.token
    }

    /// Renews the lease, or takes one. To be called every third of the duration.
    func beat() async throws {
        let began = ContinuousClock.now
        if let held {
            let rows = try await database.query(Self.renew, [held.token.parameter, .int(duration.wholeMicroseconds)])
            guard self.held?.token == held.token else { return }
            if !rows.isEmpty {
                self.held = Held(token: held.token, end: began + duration)
                return
            }
            self.held = nil
            lost.increment()
            logger.error("the lease was lost; all work under it is abandoned")
        }
        try await acquire()
    }

    /// Gives the token up, so that others may take at once what it held. Does nothing for a token that is not held.
    func surrender(_ token: LeaseToken) async {
        guard held?.token == token else { return }
        held = nil
        _ = try? await database.query(Self.end, [token.parameter])
    }

    func end() async {
        if let held { await surrender(held.token) }
    }

    private func acquire() async throws {
        _ = try await database.query(Self.forget)
        let began = ContinuousClock.now
        let rows = try await database.query(Self.take, [.text(instance), .int(duration.wholeMicroseconds)])
        guard let row = rows.first else { return }
        let token = try row.uuid("token")
        held = Held(token: LeaseToken(high: token.high, low: token.low), end: began + duration)
        logger.info("lease taken")
    }
}

extension Duration {
    var wholeMicroseconds: Int64 {
        components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000
    }
}
