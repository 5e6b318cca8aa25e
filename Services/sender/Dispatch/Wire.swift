import Delivery
import Postgres
import Runtime

/// One delivery that is about to be handed over, as WIRE needs to know it.
struct WireEntry: Sendable {
    let recipientNumber: Int32
    let attempt: Int32
    let chunk: Int32
    let addressHash: [UInt8]
    let contentHash: [UInt8]?
    /// A declared resend after doubt: its content was handed over by itself.
    let isResend: Bool
    /// Why it cannot be sent whatever the checks say.
    let fault: CompositionFault?
}

/// What WIRE decided about one delivery.
struct WireVerdict: Sendable, Equatable {
    let recipientNumber: Int32
    let attempt: Int32
    let state: AttemptState
    let fact: DeliveryFact?
    /// The row's time, by the database's clock.
    let wireAtMicroseconds: Int64
}

enum WireResult: Sendable, Equatable {
    /// The rows are durable. Only those in state `wire` may be handed over.
    case decided([WireVerdict])
    /// Nothing was written: this process no longer holds its lease.
    case leaseLost
    /// Nothing was written: the blast is held (`BlastGate.isHeld`).
    case paused
    /// Nothing was written: what bounced a moment ago may not be known yet.
    case guardStale
    /// Nothing was written: the blast is not being sent.
    case notSending
}

/// The last check before hand-over and the record that it begins, in one durable statement on the primary.
///
/// Whoever crashes afterwards leaves a row that says so; whoever crashes before leaves nothing, so that what has no row
/// was provably never sent. Two processes can never hold the same attempt, because its number is part of the key.
struct Wire: Sendable {
    let database: PostgresPool
    let leaseMargin: Duration
    let guardFreshness: Duration

    /// An error leaves open whether the rows were written: settle the entries as withdrawn.
    func write(_ entries: [WireEntry], of blast: BlastID, _ token: LeaseToken) async throws -> WireResult {
        try result(await database.query(Self.statement(of: entries, blast), parameters(entries, blast, token)))
    }

    /// The same inside a transaction of the caller's, which holds the rows of the previous attempts.
    func write(
        _ entries: [WireEntry], of blast: BlastID, _ token: LeaseToken, on connection: PostgresConnection
    ) async throws -> WireResult {
        try result(await connection.query(Self.statement(of: entries, blast), parameters(entries, blast, token)))
    }

    func parameters(_ entries: [WireEntry], _ blast: BlastID, _ token: LeaseToken) -> [PostgresParameter] {
        [
            .uuid(blast), token.parameter, .int(leaseMargin.wholeMicroseconds),
            .int(guardFreshness.wholeMicroseconds), .int4Array(entries.map(\.recipientNumber)),
            .int4Array(entries.map(\.attempt)), .int4Array(entries.map(\.chunk)),
            .byteaArray(entries.map { Optional($0.addressHash) }), .byteaArray(entries.map(\.contentHash)),
            .boolArray(entries.map(\.isResend)),
            .int8OptionalArray(entries.map { $0.fault.map { Int64($0.fact.rawValue) } }),
            .textArray(entries.map { $0.fault?.reason }),
        ]
    }

    func result(_ rows: PostgresRows) throws -> WireResult {
        guard let first = rows.first, let isLeaseLive = try first.optionalBool("lease_live") else { return .notSending }
        guard isLeaseLive else { return .leaseLost }
        let wireAt = try first.timestampMicroseconds("wire_at")
        guard try first.bool("open") else { return try first.bool("paused") ? .paused : .guardStale }
        var verdicts: [WireVerdict] = []
        for row in rows {
            guard let number = try row.optionalInt32("recipient_no") else { continue }
            guard let state = AttemptState(rawValue: try row.string("state")) else {
                throw PostgresError(.decoding, message: "WIRE returned an unknown attempt state")
            }
            let fact = try row.optionalInt("fact").flatMap { DeliveryFact(rawValue: UInt8(truncatingIfNeeded: $0)) }
            verdicts.append(
                WireVerdict(
                    recipientNumber: number, attempt: try row.int32("attempt_no"), state: state, fact: fact,
                    wireAtMicroseconds: wireAt))
        }
        return .decided(verdicts)
    }
}
