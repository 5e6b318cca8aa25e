import Delivery
import Postgres
import Runtime

/// A chunk by its key.
struct ChunkKey: Hashable, Sendable {
    let blast: BlastID
    let number: Int32
}

enum BlastClass: String, Sendable {
    case general, emergency
}

/// Decides for every recipient of a chunk whether it is left out, once and for good.
///
/// The first rule that applies decides: no address; an address that cannot be used; consent refused; not meant for this
/// category (S-08); opted out (I-19); on the blacklist (I-12, I-28); an earlier recipient of the blast has the same
/// address, with what the blast's dedupe key adds (K-02, K-03); the same content was handed over to the address within
/// the blast's window (I-14). An emergency reaches every usable address whatever its consents, categories and opt-outs,
/// but never one on the blacklist.
///
/// An earlier recipient counts as the original only while it may still be sent to: one that was left out takes nobody
/// with it. Limits: equal content is found here only when the templates have no merge field; content that differs
/// between recipients is known only once it is rendered, and the sender's hand-over decides.
struct ChunkScreen: Sendable {
    enum Outcome: Sendable, Equatable {
        case screened(recipients: Int, excluded: [DeliveryFact: Int])
        /// It had been screened before; what was decided then will be published again.
        case repeated
        /// There is no such chunk, or its blast is a draft.
        case unknown
    }

    let pool: PostgresPool

    /// Commits before it returns. Safe side by side: whoever inserts the chunk's row first decides, the others wait
    /// for it.
    func screen(_ chunk: ChunkKey) async throws -> Outcome {
        let key: [PostgresParameter] = [.uuid(chunk.blast), .int4(chunk.number)]
        return try await pool.withTransaction { connection in
            guard let bounds = try await connection.query(Self.findChunk, key).first else { return .unknown }
            guard try await connection.query(Self.claimChunk, key).affectedRows == 1 else {
                _ = try await connection.query(Self.repeatChunk, key)
                return .repeated
            }
            let range: [PostgresParameter] = [.int4(try bounds.int32("first_no")), .int4(try bounds.int32("last_no"))]
            var excluded: [DeliveryFact: Int] = [:]
            var recipients = 0
            for row in try await connection.query(Self.decide, key + range) {
                let count = Int(try row.int("n"))
                guard let bit = try row.optionalInt("fact") else {
                    recipients = count
                    continue
                }
                guard let fact = UInt8(exactly: bit).flatMap(DeliveryFact.init(rawValue:)) else {
                    throw LoopError("decided fact \(bit), which is none")
                }
                excluded[fact] = count
            }
            let total = excluded.values.reduce(0, +)
            if total > 0 { _ = try await connection.query(Self.countExcluded, key + [.int4(Int32(total))]) }
            return .screened(recipients: recipients, excluded: excluded)
        }
    }

    private static let findChunk = """
        SELECT c.first_no, c.last_no FROM chunk c JOIN blast b USING (blast_id)
         WHERE c.blast_id = $1 AND c.chunk_no = $2 AND b.state <> 'draft'
        """

    private static let claimChunk = """
        INSERT INTO screened_chunk (blast_id, chunk_no, district_id, class, excluded)
        SELECT blast_id, $2, district_id, class, 0 FROM blast WHERE blast_id = $1
        ON CONFLICT DO NOTHING
        """

    /// One that is being published at this moment, or was a moment ago, needs no second time.
    private static let repeatChunk = """
        UPDATE screened_chunk SET reported_at = NULL
         WHERE (blast_id, chunk_no) IN (SELECT blast_id, chunk_no FROM screened_chunk
                                         WHERE blast_id = $1 AND chunk_no = $2
                                           AND reported_at < clock_timestamp() - interval '5 seconds'
                                           FOR UPDATE SKIP LOCKED)
        """

    private static let countExcluded = "UPDATE screened_chunk SET excluded = $3 WHERE blast_id = $1 AND chunk_no = $2"

    /// The rules themselves are `screen_recipients` of the schema, which the sender's dry run asks as well.
    private static let decide = """
        WITH screened AS MATERIALIZED (
            SELECT s.* FROM blast b CROSS JOIN LATERAL screen_recipients($1, $3, $4, b.content_hash) s
             WHERE b.blast_id = $1
        ), kept AS (
            INSERT INTO decision (blast_id, recipient_no, district_id, chunk_no, fact, rule, detail,
                                  original_blast_id, original_recipient_no)
            SELECT $1, recipient_no, district_id, $2, fact, rule, detail, original_blast_id, original_recipient_no
              FROM screened WHERE fact IS NOT NULL
            ON CONFLICT DO NOTHING
            RETURNING fact
        )
        SELECT fact, count(*) AS n FROM kept GROUP BY fact
        UNION ALL SELECT NULL, count(*) FROM screened
        """
}
