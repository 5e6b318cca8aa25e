import Delivery
import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Writes buffered hits to the database, in batches, and once more when the process stops.
///
/// While the database is away the buffer keeps what it can hold.
struct HitWriter: Service {
    private static let interval = Duration.milliseconds(25)
    private static let batchMax = 1000

    let context: ProgramContext
    let buffer: HitBuffer
    let database: PostgresPool
    let metrics: IngesterMetrics

    func run() async throws {
        let stuck = context.stuckLoop("hits")
        let outage = OutageLog("writing opens and clicks", logger: context.logger)
        var backoff = Backoff(initial: .milliseconds(200), maximum: .seconds(5))
        while !Task.isShuttingDownGracefully, !Task.isCancelled {
            stuck.turn()
            var wait = Self.interval
            do {
                try await flush()
                outage.worked()
                backoff.reset()
            } catch {
                outage.failed(error)
                wait = backoff.next()
            }
            if try await pause(for: wait) { break }
        }
        do {
            try await flush()
        } catch {
            let lost = buffer.take(.max).count
            buffer.finish(lost)
            metrics.hitsLost.increment(by: lost)
            context.logger.error(
                "opens and clicks are lost: the database took no more",
                metadata: ["count": .stringConvertible(lost), "cause": "\(error)"])
        }
    }

    /// A stop must not wait for a database that hangs.
    static func bounded(_ configuration: PostgresConfiguration) -> PostgresConfiguration {
        var configuration = configuration
        configuration.connectTimeout = .seconds(2)
        configuration.statementTimeout = .seconds(5)
        return configuration
    }

    private func flush() async throws {
        while true {
            let batch = buffer.take(Self.batchMax)
            guard !batch.isEmpty else { return }
            do {
                try await write(batch)
                buffer.finish(batch.count)
            } catch {
                buffer.putBack(batch)
                throw error
            }
        }
    }

    /// A hit whose values the database refuses, or whose day is gone, must not keep the others: the batch is halved
    /// until it stands alone.
    private func write(_ hits: [Hit]) async throws {
        do {
            metrics.hitsStored.increment(by: try await insert(hits))
        } catch let error as PostgresError where ["22", "23"].contains(error.sqlState?.prefix(2)) {
            guard hits.count > 1 else {
                metrics.hitsLost.increment()
                context.logger.warning("an open or click was refused by the database", metadata: ["cause": "\(error)"])
                return
            }
            try await write(Array(hits.prefix(hits.count / 2)))
            try await write(Array(hits.dropFirst(hits.count / 2)))
        }
    }

    private func insert(_ hits: [Hit]) async throws -> Int {
        try await database.query(
            Self.insertSQL,
            [
                .uuidArray(hits.map(\.delivery.blast)), .uuidArray(hits.map(\.id)),
                .int4Array(hits.map(\.delivery.recipientNumber)), .int8Array(hits.map(\.district.number)),
                .textArray(hits.map(\.kind.rawValue)), .int8OptionalArray(hits.map { $0.link.map(Int64.init) }),
                .timestampArray(hits.map(\.atMicroseconds)), .textArray(hits.map(\.method)),
                .textArray(hits.map(\.userAgent)),
            ]
        ).affectedRows
    }

    /// Writing a batch again changes nothing. Hits on an expired document are not kept.
    private static let insertSQL = """
        INSERT INTO tracking_hit (blast_id, hit_id, recipient_no, district_id, kind, link_no, at, method, user_agent)
        SELECT e.*
          FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::bigint[], $5::text[], $6::bigint[], $7::timestamptz[],
                      $8::text[], $9::text[])
               AS e(blast_id, hit_id, recipient_no, district_id, kind, link_no, at, method, user_agent)
          JOIN blast b ON b.blast_id = e.blast_id AND b.district_id = e.district_id
         WHERE b.expires_at IS NULL OR b.expires_at > now()
        ON CONFLICT DO NOTHING
        """
}
