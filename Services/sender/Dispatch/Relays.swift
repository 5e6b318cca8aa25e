import Logging
import Mail
import Runtime
import SMTP
import Synchronization

/// One SMTP relay of the settings.
struct RelayConfiguration: Sendable {
    /// For logs and metrics; unique.
    let name: String
    let weight: Int
    let smtp: SMTPConfiguration
}

/// Hands messages to the SMTP relays and other providers, each with its own connections and health.
///
/// A message goes out on its recipient's channel only. A message that a relay provably did not take is offered to the
/// next one within the same attempt, as long as there is time. A message in doubt stays with its relay: nobody else is asked.
final class Relays: Sendable {
    private let members: [Way]
    private let byChannel: [Channel: (own: [Int], others: Set<Int>)]
    private let slots: HandOverSlots
    private let pace: RelayPace
    private let metrics: SenderMetrics
    private let logger: Logger
    private let roster: Mutex<RelayRoster>

    /// - Parameter slots: as many as each channel's relays have connections; made fewer here while a relay cannot be used.
    init(
        _ ways: [Way], slots: HandOverSlots, pace: RelayPace = RelayPace(), metrics: SenderMetrics, logger: Logger
    ) {
        members = ways
        byChannel = Dictionary(
            uniqueKeysWithValues: Channel.allCases.map { channel in
                let own = ways.indices.filter { ways[$0].channel == channel }
                return (channel, (own, Set(ways.indices).subtracting(own)))
            })
        roster = Mutex(
            RelayRoster(ways.map { RelayRoster.Entry(weight: $0.weight, connections: $0.connections) }))
        self.slots = slots
        self.pace = pace
        self.metrics = metrics
        self.logger = logger
    }

    var openConnections: Int { members.reduce(0) { $0 + $1.provider.openConnections } }

    /// How long to wait before any relay is tried again; nil when there is no reason to.
    var pauseNeeded: Duration? { roster.withLock { $0.pauseNeeded(at: .now) } }

    /// The same for the messages of one channel. One that nothing is set up for is looked at again in a while: another
    /// sender may have what it needs.
    func pauseNeeded(for channel: Channel) -> Duration? {
        let members = indices(of: channel)
        guard !members.isEmpty else { return .seconds(5) }
        return roster.withLock { $0.pauseNeeded(at: .now, among: members) }
    }

    private func indices(of channel: Channel) -> [Int] { byChannel[channel]?.own ?? [] }

    /// How many of so many messages of a channel each of its relays would get now, by name.
    func shares(of messages: Int, on channel: Channel) -> [String: Int] {
        let shares = roster.withLock { $0.shares(of: messages, among: indices(of: channel)) }
        return Dictionary(uniqueKeysWithValues: shares.map { (members[$0.key].name, $0.value) })
    }

    /// The names of the relays that cannot be used now.
    var troubled: [String] {
        let entries = roster.withLock { $0.entries }
        return zip(members, entries).compactMap { $1.health.isTroubled ? $0.name : nil }
    }

    /// Every channel that something is set up for has a way out.
    var isUsable: Bool {
        let entries = roster.withLock { $0.entries }
        return Channel.allCases.allSatisfy { channel in
            let indices = indices(of: channel)
            return indices.isEmpty || indices.contains { !entries[$0].health.isTroubled }
        }
    }

    func watch(_ metrics: SenderMetrics) {
        for (index, member) in members.enumerated() {
            metrics.watch(
                relay: member.name, connections: { member.provider.openConnections },
                onTheWire: { self.roster.withLock { $0.entries[index].inUse } },
                isUsable: { self.roster.withLock { !$0.entries[index].health.isTroubled } })
        }
    }

    func close() async {
        await withDiscardingTaskGroup { group in
            for member in members { group.addTask { await member.provider.close() } }
        }
    }

    func deliver(
        _ message: ComposedMessage, deadline: ContinuousClock.Instant,
        entered: (@Sendable (SMTPStage) -> Void)? = nil, beforeDot: @escaping @Sendable () -> Void,
        afterDot: @escaping @Sendable () -> Void
    ) async -> (outcome: SMTPOutcome, provider: String?) {
        var tried = byChannel[message.channel]?.others ?? []
        var last: (outcome: SMTPOutcome, provider: String?)?
        var isRefusedByAll = true
        while last == nil || ContinuousClock.now < deadline,
            let (index, isInLine) = take(except: tried, of: message.channel)
        {
            let outcome = await members[index].provider.deliver(
                message, deadline: deadline, entered: entered, beforeDot: beforeDot, afterDot: afterDot)
            finish(index, outcome, isInLine: isInLine)
            last = (outcome, members[index].provider.kind)
            guard outcome.mayGoElsewhere else { break }
            tried.insert(index)
            isRefusedByAll = isRefusedByAll && outcome.isLocalRefusal
        }
        guard let last else { return (.deferred(nil, stage: .connect, reason: "no relay can be used now"), nil) }
        guard case .rejected(let reply, let stage) = last.outcome, last.outcome.mayGoElsewhere,
            !isRefusedByAll || tried.count < members.count
        else { return last }
        // Another relay may offer what this one does not.
        let reason = "the relay that could be asked cannot take it: \(reply)"
        return (.deferred(reply, stage: stage, reason: reason), last.provider)
    }

    /// A slot is granted for a free connection; when its relay has failed since, the message stands in line at another.
    /// One whose rate is used up gets a message only when there is no other.
    private func take(except tried: Set<Int>, of channel: Channel) -> (index: Int, isInLine: Bool)? {
        let spent = members.indices.filter { pace.isSpent(members[$0].name) }
        let taken = roster.withLock { roster -> (index: Int, isInLine: Bool)? in
            defer { limitSlots(of: channel, roster) }
            for excepted in spent.isEmpty ? [tried] : [tried.union(spent), tried] {
                if let index = roster.take(at: .now, except: excepted) { return (index, false) }
                if let index = roster.takeInLine(except: excepted) { return (index, true) }
            }
            return nil
        }
        if let taken { pace.spend(members[taken.index].name) }
        return taken
    }

    private func limitSlots(of channel: Channel, _ roster: borrowing RelayRoster) {
        slots.limit(to: roster.limit(at: .now, among: indices(of: channel)), of: channel)
    }

    private func finish(_ index: Int, _ outcome: SMTPOutcome, isInLine: Bool) {
        let name = members[index].name
        if isInLine, case .deferred(nil, .connect, _) = outcome {
            // It never got a connection, which says nothing about the relay.
            return roster.withLock { roster in
                roster.giveBack(index)
                limitSlots(of: members[index].channel, roster)
            }
        }
        pace.saw(name, isTaken: outcome.isTaken, asksForLess: outcome.isRelayAskingForLess, at: .now)
        let trouble = outcome.relayTrouble
        let (hasChanged, retryAt) = roster.withLock { roster -> (Bool, ContinuousClock.Instant?) in
            roster.giveBack(index)
            let hasChanged =
                trouble == nil
                ? roster.worked(index)
                : roster.failed(index, at: .now, isCertain: outcome.isBeforeEnvelope)
            limitSlots(of: members[index].channel, roster)
            return (hasChanged, roster.entries[index].health.blockedUntil)
        }
        metrics.answered(relay: name, trouble == nil ? outcome.word : "trouble")
        if hasChanged, let trouble {
            logger.error(
                "a relay cannot be used; messages go to others or wait",
                metadata: ["relay": "\(name)", "reason": "\(trouble)"])
        } else if hasChanged {
            logger.notice("a relay works again", metadata: ["relay": "\(name)"])
        }
        guard trouble != nil, let retryAt else { return }
        Task {
            try? await Task.sleep(until: retryAt)
            self.roster.withLock { self.limitSlots(of: self.members[index].channel, $0) }
        }
    }
}

extension SMTPOutcome {
    /// Why the relay should be left alone for a while, in words without addresses; nil when it answered as a working
    /// relay does. A relay that leaves doubt is one that more messages would be lost with.
    var relayTrouble: String? {
        switch self {
        case .accepted: nil
        case .inDoubt: "no answer to the final dot"
        case .rejected(let reply, let stage): stage.isBeforeEnvelope ? "\(reply)" : nil
        case .deferred(let reply, let stage, let reason):
            if stage.isBeforeEnvelope {
                reason
            } else if let reply {
                reply.code == 421 ? "421 at \(stage.rawValue)" : nil
            } else {
                "no answer at \(stage.rawValue)"
            }
        }
    }

    /// Nothing about the message or its recipient had been said.
    var isBeforeEnvelope: Bool {
        switch self {
        case .accepted, .inDoubt: false
        case .rejected(_, let stage), .deferred(_, let stage, _): stage.isBeforeEnvelope
        }
    }

    var isTaken: Bool {
        if case .accepted = self { true } else { false }
    }

    /// The relay wants less of us for now: a 4xx before any recipient is named.
    var isRelayAskingForLess: Bool {
        if case .deferred(_?, let stage, _) = self { stage.isBeforeEnvelope || stage == .mail } else { false }
    }

    /// Our own side's refusal for what the relay does not offer; nothing was sent.
    var isLocalRefusal: Bool {
        if case .rejected(let reply, _) = self { reply.isLocal } else { false }
    }

    /// Provably not taken, for a reason that is the relay's.
    var mayGoElsewhere: Bool {
        switch self {
        case .accepted, .inDoubt: false
        case .rejected, .deferred: relayTrouble != nil || isLocalRefusal
        }
    }

    var word: String {
        switch self {
        case .accepted: "accepted"
        case .rejected: "rejected"
        case .deferred: "deferred"
        case .inDoubt: "in_doubt"
        }
    }
}
