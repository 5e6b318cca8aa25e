import Postgres
import Runtime
import Synchronization

/// How fast mail is handed over, to everybody, to each receiving domain and over each relay, by all senders together.
///
/// A rate is a row, and a second of it is taken from the row before messages go out, so that four senders do not send
/// four times the rate. Domains without a row take as much as comes. One that refuses a good part of what it gets for
/// now (a 4xx that is not about a mailbox) gets a row at half of what it got; the rate falls by half again while that goes
/// on, and rises in equal steps once it has stopped. Ten minutes later the row is gone. So it is with a relay that works
/// and yet refuses us for now, before any recipient is named.
///
/// What finds no room waits in its row, and is no attempt. Emergencies take from the same rows and never wait for them.
final class SendRates: Sendable {
    /// The scope that all domains share.
    static let everybody = "*"
    /// No domain has a colon.
    private static let relayPrefix = "relay:"
    static let refusalsToSlow = 5
    static let refusalPercentToSlow = 20

    /// Who had to wait for the row may come with an older second than the row's: that one counts then. A row far ahead
    /// is of a clock that was put back.
    static let take = """
        WITH held AS MATERIALIZED (
            SELECT r.scope, r.per_second, w.n,
                   CASE WHEN r.slice BETWEEN t.slice AND t.slice + interval '10 seconds' THEN r.slice ELSE t.slice END
                        AS slice,
                   CASE WHEN r.slice BETWEEN t.slice AND t.slice + interval '10 seconds' THEN r.taken ELSE 0 END
                        AS taken
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
    private let pace: RelayPace
    private let state: Mutex<State>

    init(database: PostgresPool, ceilings: [String: Int], pace: RelayPace = RelayPace()) {
        self.database = database
        self.ceilings = ceilings
        self.pace = pace
        let limited = ceilings.mapValues(Double.init)
        state = Mutex(State(limited: limited))
        pace.limit(to: Self.relays(limited))
    }

    static func scope(relay name: String) -> String { relayPrefix + name }

    /// Those of the scopes that are relays, by their names.
    static func relays<Rate>(_ rates: [String: Rate]) -> [String: Rate] {
        rates.reduce(into: [:]) { relays, item in
            guard item.key.utf8.starts(with: relayPrefix.utf8) else { return }
            relays[String(item.key.dropFirst(relayPrefix.count))] = item.value
        }
    }

    /// Which of a window's messages may go now, in order.
    struct Room: Sendable {
        var mayGo: [Bool]
        /// When the others might.
        var wait: Duration
        /// Nobody has room left, whatever the domain.
        var isOver: Bool

        fileprivate mutating func end(after n: Int) {
            var left = n
            for index in mayGo.indices where mayGo[index] {
                if left > 0 { left -= 1 } else { mayGo[index] = false }
            }
            isOver = true
            wait = max(wait, .seconds(1))
        }
    }

    /// Whether anybody has a rate, so that messages may have to wait.
    var areLimited: Bool { state.withLock { !$0.limited.isEmpty } }

    /// - Parameters:
    ///   - hasEnded: nothing will be handed over, so that no room is needed.
    ///   - shares: how so many messages would be shared among the relays.
    func room(
        for domains: [String], isEmergency: Bool, hasEnded: Bool = false,
        shares: (Int) -> [String: Int] = { n in ["": n] }
    ) async throws -> Room {
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
            room.end(after: grant.n)
        }
        let rest = room.mayGo.count { $0 }
        if rest > 0, limited.keys.contains(where: { $0.utf8.starts(with: Self.relayPrefix.utf8) }) {
            let n = try await relayRoom(for: shares(rest), limited, isEmergency)
            if let n, n < rest { room.end(after: n) }
        }
        return room
    }

    /// How many messages the relays have room for; nil when a relay without a rate takes the rest. What one relay has no
    /// room for is asked of the others.
    private func relayRoom(
        for shares: [String: Int], _ limited: [String: Double], _ isEmergency: Bool
    ) async throws -> Int? {
        let paced = shares.filter { limited[Self.scope(relay: $0.key)] != nil }
        var granted = try await takeRelays(paced, isEmergency)
        guard paced.count == shares.count else { return nil }
        let missing = paced.values.reduce(0, +) - granted.values.reduce(0, +)
        let generous = paced.filter { $0.value > 0 && granted[$0.key] == $0.value }.keys.sorted()
        if missing > 0, !generous.isEmpty {
            let more = Dictionary(
                uniqueKeysWithValues: generous.enumerated().map { index, relay in
                    (relay, missing / generous.count + (index < missing % generous.count ? 1 : 0))
                })
            granted.merge(try await takeRelays(more, isEmergency)) { $0 + $1 }
        }
        return granted.values.reduce(0, +)
    }

    /// What the relays were granted beyond what they owe.
    private func takeRelays(_ shares: [String: Int], _ isEmergency: Bool) async throws -> [String: Int] {
        var wanted: [String: Int] = [:]
        var debts: [String: Int] = [:]
        for (relay, n) in shares where n > 0 {
            debts[relay] = pace.debt(of: relay)
            wanted[Self.scope(relay: relay)] = n + (debts[relay] ?? 0)
        }
        guard !wanted.isEmpty else { return [:] }
        let grants = try await take(wanted, isEmergency)
        return shares.reduce(into: [:]) { granted, share in
            // A row that is gone since takes its rate with it.
            let n = grants[Self.scope(relay: share.key)]?.n ?? share.value
            pace.add(n, to: share.key)
            granted[share.key] = min(share.value, max(0, n - (debts[share.key] ?? 0)))
        }
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
        count(pace.takeSeen())
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
        pace.limit(to: Self.relays(limited))
    }

    private func count(_ seen: [String: RelayPace.Seen]) {
        state.withLock { state in
            for (relay, seen) in seen {
                state.tallies[Self.scope(relay: relay), default: Tally()].handedOver += seen.offered
                state.tallies[Self.scope(relay: relay)]?.refused += seen.refused
            }
        }
    }

    /// Domains and relays that refused a good part for now, with what they got a second; counting begins anew for them.
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
        guard let at = address.utf8.lastIndex(of: UInt8(ascii: "@")) else { return "" }
        let domain = address.utf8[at...].dropFirst()
        let isPlain = domain.allSatisfy { $0 < 0x80 && !(0x41...0x5A).contains($0) }
        return isPlain ? String(Substring(domain)) : Substring(domain).lowercased()
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

/// Rates as operators write them: `*=100, gmail.com=20, relay:spare=5`.
enum RateList {
    static func parse(_ raw: SettingText) -> [String: Int]? {
        guard let items = raw.items, !items.isEmpty else { return nil }
        var rates: [String: Int] = [:]
        for item in items {
            let text = item.filter { $0 != " " }
            guard let sign = text.lastIndex(of: "="), sign > text.startIndex,
                let rate = Int(text[text.index(after: sign)...]), (1...1_000_000).contains(rate)
            else { return nil }
            // Names of relays are as the settings spell them.
            let scope = String(text[..<sign])
            let isRelay = scope.utf8.starts(with: SendRates.scope(relay: "").utf8)
            guard rates.updateValue(rate, forKey: isRelay ? scope : scope.lowercased()) == nil else { return nil }
        }
        return rates
    }

    static func print(_ rates: [String: Int]) -> String {
        rates.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
    }
}
