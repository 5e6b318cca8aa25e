import Postgres
import Runtime
import Synchronization

/// How fast mail is handed over, to everybody and to each receiving domain, by all senders together.
///
/// A rate is a row, and a second of it is taken from the row before messages go out, so that four senders do not send
/// four times the rate. Domains without a row take as much as comes. One that refuses a good part of what it gets for
/// now (a 4xx that is not about a mailbox) gets a row at half of what it got; the rate falls by half again while that goes
/// on, and rises in equal steps once it has stopped. Ten minutes later the row is gone.
///
/// What finds no room waits in its row, and is no attempt. Emergencies take from the same rows and never wait for them.
final class SendRates: Sendable {
    /// The scope that all domains share.
    static let everybody = "*"
    static let refusalsToSlow = 5
    static let refusalPercentToSlow = 20

    static let take = """
        WITH held AS MATERIALIZED (
            SELECT r.scope, r.per_second, w.n, t.slice, CASE WHEN r.slice = t.slice THEN r.taken ELSE 0 END AS taken
              FROM send_rate r
              JOIN unnest($1::text[], $2::int[]) AS w (scope, n) ON w.scope = r.scope
             CROSS JOIN LATERAL (SELECT date_trunc('second', clock_timestamp()) AS slice) t
             ORDER BY r.scope
               FOR UPDATE OF r
        ), granted AS MATERIALIZED (
            SELECT scope, per_second, slice, taken,
                   CASE WHEN $3 THEN n ELSE least(n, greatest(0, ceil(per_second)::int - taken)) END AS n
              FROM held
        ), kept AS (
            UPDATE send_rate r SET slice = g.slice, taken = g.taken + g.n FROM granted g WHERE r.scope = g.scope
        )
        SELECT scope, n, per_second FROM granted
        """
    static let slowDown = """
        INSERT INTO send_rate AS r (scope, per_second, step)
        SELECT f.scope, s.rate, greatest(1, s.rate / 10)
          FROM unnest($1::text[], $2::bigint[]) AS f (scope, seen)
         CROSS JOIN (SELECT greatest(1, count(*)) AS senders FROM sender_lease
                      WHERE lease_until > clock_timestamp()) l
         CROSS JOIN LATERAL (SELECT greatest(1, f.seen * l.senders / 2.0) AS rate) s
         ORDER BY f.scope
        ON CONFLICT (scope) DO UPDATE
           SET refused_at = clock_timestamp(),
               per_second = CASE WHEN r.changed_at > clock_timestamp() - interval '5 seconds' THEN r.per_second
                                 ELSE greatest(1, r.per_second / 2) END,
               step = CASE WHEN r.changed_at > clock_timestamp() - interval '5 seconds' THEN r.step
                           ELSE greatest(1, r.per_second / 20) END,
               changed_at = CASE WHEN r.changed_at > clock_timestamp() - interval '5 seconds' THEN r.changed_at
                                 ELSE clock_timestamp() END
        """
    static let recover = """
        WITH gone AS (
            DELETE FROM send_rate
             WHERE ceiling IS NULL AND refused_at < clock_timestamp() - interval '10 minutes'
        )
        UPDATE send_rate
           SET per_second = least(per_second + step, ceiling), changed_at = clock_timestamp()
         WHERE greatest(refused_at, changed_at) < clock_timestamp() - interval '10 seconds'
           AND (ceiling IS NULL AND refused_at >= clock_timestamp() - interval '10 minutes' OR per_second < ceiling)
        """
    private static let read = "SELECT scope, per_second FROM send_rate"
    private static let declare = """
        WITH gone AS (
            DELETE FROM send_rate WHERE ceiling IS NOT NULL AND scope <> ALL ($1::text[])
        )
        INSERT INTO send_rate AS r (scope, per_second, step, ceiling)
        SELECT d.scope, d.ceiling, greatest(1, d.ceiling / 10.0), d.ceiling
          FROM unnest($1::text[], $2::bigint[]) AS d (scope, ceiling) ORDER BY d.scope
        ON CONFLICT (scope) DO UPDATE SET ceiling = excluded.ceiling, per_second = excluded.per_second
        """

    private struct Tally {
        var since = ContinuousClock.now
        var handedOver = 0
        var refused = 0
    }

    private struct State {
        /// Scopes with a rate, as last read.
        var limited: [String: Double] = [:]
        var isDeclared = false
        var tallies: [String: Tally] = [:]
    }

    private let database: PostgresPool
    private let ceilings: [String: Int]
    private let state: Mutex<State>

    init(database: PostgresPool, ceilings: [String: Int]) {
        self.database = database
        self.ceilings = ceilings
        state = Mutex(State(limited: ceilings.mapValues(Double.init)))
    }

    /// Which of a window's messages may go now, in order.
    struct Room: Sendable {
        var mayGo: [Bool]
        /// When the others might.
        var wait: Duration
        /// Nobody has room left, whatever the domain.
        var isOver: Bool
    }

    /// - Parameter hasEnded: nothing will be handed over, so that no room is needed.
    func room(for domains: [String], isEmergency: Bool, hasEnded: Bool = false) async throws -> Room {
        let limited = state.withLock { $0.limited }
        var room = Room(mayGo: domains.map { _ in true }, wait: .zero, isOver: false)
        guard !limited.isEmpty, !domains.isEmpty, !hasEnded else { return room }
        var wanted: [String: Int] = [:]
        for domain in domains where limited[domain] != nil { wanted[domain, default: 0] += 1 }
        if !wanted.isEmpty {
            let granted = try await take(wanted, isEmergency)
            var left = granted.mapValues(\.n)
            for (index, domain) in domains.enumerated() {
                guard let n = left[domain] else { continue }
                if n > 0 { left[domain] = n - 1 } else { room.mayGo[index] = false }
            }
            for (domain, grant) in granted {
                let short = Double((wanted[domain] ?? 0) - grant.n)
                room.wait = max(room.wait, .seconds(min(30, (2 * short / grant.rate).rounded(.up))))
            }
        }
        let going = room.mayGo.count { $0 }
        if going > 0, limited[Self.everybody] != nil,
            let grant = try await take([Self.everybody: going], isEmergency)[Self.everybody], grant.n < going
        {
            var left = grant.n
            for index in room.mayGo.indices where room.mayGo[index] {
                if left > 0 { left -= 1 } else { room.mayGo[index] = false }
            }
            room.isOver = true
            room.wait = max(room.wait, .seconds(1))
        }
        return room
    }

    private func take(_ wanted: [String: Int], _ isEmergency: Bool) async throws -> [String: (n: Int, rate: Double)] {
        let scopes = wanted.keys.sorted()
        let rows = try await database.query(
            Self.take,
            [
                .textArray(scopes), .int4Array(scopes.map { Int32(clamping: wanted[$0] ?? 0) }), .bool(isEmergency),
            ])
        var granted: [String: (n: Int, rate: Double)] = [:]
        for row in rows { granted[try row.string("scope")] = (Int(try row.int("n")), try row.double("per_second")) }
        return granted
    }

    // MARK: What the domains say

    func sawOutcome(of domain: String, isRefusedForNow: Bool) {
        state.withLock { state in
            state.tallies[domain, default: Tally()].handedOver += 1
            if isRefusedForNow { state.tallies[domain]?.refused += 1 }
        }
    }

    /// To be called every second: reports domains that refuse, lets the others recover and reads the rates.
    func look() async throws {
        if !state.withLock({ $0.isDeclared }) {
            let scopes = ceilings.keys.sorted()
            _ = try await database.query(
                Self.declare, [.textArray(scopes), .int8Array(scopes.map { Int64(ceilings[$0] ?? 1) })])
            state.withLock { $0.isDeclared = true }
        }
        let slow = domainsToSlow(at: .now)
        if !slow.isEmpty {
            _ = try await database.query(
                Self.slowDown, [.textArray(slow.map(\.domain)), .int8Array(slow.map(\.perSecond))])
        }
        _ = try await database.query(Self.recover)
        var limited: [String: Double] = [:]
        for row in try await database.query(Self.read) {
            limited[try row.string("scope")] = try row.double("per_second")
        }
        state.withLock { [limited] in $0.limited = limited }
    }

    /// Domains that refused a good part for now, with what they got a second; counting begins anew for them.
    func domainsToSlow(at now: ContinuousClock.Instant) -> [(domain: String, perSecond: Int64)] {
        state.withLock { state in
            var slow: [(domain: String, perSecond: Int64)] = []
            for (domain, tally) in state.tallies {
                let seconds = max(1, tally.since.duration(to: now) / .seconds(1))
                if tally.refused >= Self.refusalsToSlow,
                    tally.refused * 100 >= tally.handedOver * Self.refusalPercentToSlow
                {
                    slow.append((domain, Int64(Double(tally.handedOver) / seconds)))
                    state.tallies[domain] = nil
                } else if seconds > 30 {
                    state.tallies[domain] = nil
                }
            }
            return slow.sorted { $0.domain < $1.domain }
        }
    }

    /// The receiving domain of an address, in small letters.
    static func domain(of address: String) -> String {
        let octets = Array(address.utf8)
        guard let at = octets.lastIndex(of: UInt8(ascii: "@")) else { return "" }
        return String(decoding: octets[(at + 1)...], as: UTF8.self).lowercased()
    }
}

extension Settlement {
    /// The receiving side wants less mail just now; a full mailbox says nothing about the others.
    var asksForLess: Bool {
        guard state == .deferred, code != nil else { return false }
        guard let enhancedCode else { return true }
        return !enhancedCode.hasPrefix("4.1.") && !enhancedCode.hasPrefix("4.2.")
    }
}

/// Rates as operators write them: `*=100, gmail.com=20`.
enum RateList {
    static func parse(_ raw: SettingText) -> [String: Int]? {
        let items: [String] =
            switch raw {
            case .list(let items): items
            case .text(let text): text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
            }
        var rates: [String: Int] = [:]
        for item in items {
            let parts = item.filter { $0 != " " }.split(separator: "=", omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty, let rate = Int(parts[1]), (1...1_000_000).contains(rate),
                rates.updateValue(rate, forKey: parts[0].lowercased()) == nil
            else { return nil }
        }
        return rates
    }

    static func print(_ rates: [String: Int]) -> String {
        rates.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
    }
}
