import Runtime

/// Whether a relay can be used, with growing pauses while it cannot: without them an outage of a minute would run a
/// whole blast through the attempts table.
struct RelayHealth: Sendable {
    private var backoff = Backoff(initial: .milliseconds(250), maximum: .seconds(10))
    private(set) var blockedUntil: ContinuousClock.Instant?
    private var hasStumbled = false

    /// True from the first failure to the next success.
    var isTroubled: Bool { blockedUntil != nil }

    func isBlocked(at now: ContinuousClock.Instant) -> Bool { blockedUntil.map { now < $0 } ?? false }

    /// Several failures of one outage that arrive together count once. Returns true when the trouble is new.
    ///
    /// - Parameter isCertain: false for what one message may have caused; that counts from the second time in a row.
    mutating func failed(at now: ContinuousClock.Instant, isCertain: Bool = true) -> Bool {
        guard !isBlocked(at: now) else { return false }
        guard isCertain || hasStumbled || isTroubled else {
            hasStumbled = true
            return false
        }
        let isNew = blockedUntil == nil
        blockedUntil = now + backoff.next()
        return isNew
    }

    /// Returns true when that ends the trouble.
    mutating func worked() -> Bool {
        hasStumbled = false
        guard isTroubled else { return false }
        blockedUntil = nil
        backoff.reset()
        return true
    }
}

/// Which relay gets the next message: a value, so that every case can be tried in a test.
///
/// Relays that work share the messages by their weights, as far as their connections are free. One that failed gets none
/// until its pause is over, then one at a time until one goes through. So a relay that hangs holds its own connections
/// and nobody else's.
struct RelayRoster: Sendable {
    struct Entry: Sendable {
        let weight: Int
        let connections: Int
        var inUse = 0
        var health = RelayHealth()
        fileprivate var credit = 0
        fileprivate var planned = 0

        init(weight: Int, connections: Int) {
            self.weight = weight
            self.connections = connections
        }

        fileprivate var load: Double { Double(inUse) / Double(connections) }

        /// How many more messages it may have now; negative while some stand in line.
        func free(at now: ContinuousClock.Instant) -> Int {
            guard health.isTroubled else { return connections - inUse }
            return health.isBlocked(at: now) || inUse > 0 ? 0 : 1
        }
    }

    private(set) var entries: [Entry]

    init(_ entries: [Entry]) { self.entries = entries }

    /// Takes a connection's place at one of the relays; nil when none can be used. Smooth weighted round robin: the turn
    /// depends on nothing but the turns before.
    mutating func take(at now: ContinuousClock.Instant, except tried: Set<Int> = []) -> Int? {
        let usable = entries.indices.filter { !tried.contains($0) && entries[$0].free(at: now) > 0 }
        var total = 0
        for index in usable {
            entries[index].credit += entries[index].weight
            total += entries[index].weight
        }
        guard let chosen = usable.max(by: { entries[$0].credit < entries[$1].credit }) else { return nil }
        entries[chosen].credit -= total
        entries[chosen].inUse += 1
        return chosen
    }

    /// Takes a place in the line of a relay that works though all its connections are in use: the shortest line.
    mutating func takeInLine(except tried: Set<Int>) -> Int? {
        let working = entries.indices.filter { !tried.contains($0) && !entries[$0].health.isTroubled }
        guard let chosen = working.min(by: { entries[$0].load < entries[$1].load }) else { return nil }
        entries[chosen].inUse += 1
        return chosen
    }

    /// How many of the next messages each relay would get if all had connections: by weight, among those that work, or
    /// all when none does. The turn depends on nothing but the turns before.
    mutating func shares(of messages: Int, among asked: [Int]) -> [Int: Int] {
        var shares: [Int: Int] = [:]
        let working = asked.filter { !entries[$0].health.isTroubled }
        let members = working.isEmpty ? asked : working
        let total = members.reduce(0) { $0 + entries[$1].weight }
        for _ in 0..<messages {
            for index in members { entries[index].planned += entries[index].weight }
            guard let chosen = members.max(by: { entries[$0].planned < entries[$1].planned }) else { break }
            entries[chosen].planned -= total
            shares[chosen, default: 0] += 1
        }
        return shares
    }

    mutating func giveBack(_ index: Int) {
        entries[index].inUse -= 1
    }

    /// Returns true when the relay's trouble begins.
    mutating func failed(_ index: Int, at now: ContinuousClock.Instant, isCertain: Bool = true) -> Bool {
        entries[index].health.failed(at: now, isCertain: isCertain)
    }

    /// Returns true when the relay's trouble is over.
    mutating func worked(_ index: Int) -> Bool { entries[index].health.worked() }

    /// How many messages may be on the wire over the relays in question, nil for all: what troubled ones hold, and every
    /// connection of the others.
    func limit(at now: ContinuousClock.Instant, among members: [Int]? = nil) -> Int {
        (members ?? Array(entries.indices)).reduce(0) { $0 + entries[$1].inUse + entries[$1].free(at: now) }
    }

    /// How long until a relay can be tried; nil when one can be used now, or is being tried.
    ///
    /// - Parameter members: the relays in question; nil for all.
    func pauseNeeded(at now: ContinuousClock.Instant, among members: [Int]? = nil) -> Duration? {
        let entries = members.map { $0.map { self.entries[$0] } } ?? entries
        guard entries.allSatisfy({ $0.health.isBlocked(at: now) }) else { return nil }
        return entries.compactMap(\.health.blockedUntil).min().map { now.duration(to: $0) }
    }
}
