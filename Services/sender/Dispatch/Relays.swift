import Logging
import Mail
import NIOCore
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

/// Hands messages to the SMTP relays, each with its own connections and health.
///
/// A message that a relay provably did not take is offered to the next one within the same attempt, as long as there is
/// time. A message in doubt stays with its relay: nobody else is asked.
final class Relays: Sendable {
    private let members: [(configuration: RelayConfiguration, pool: SMTPConnectionPool)]
    private let slots: HandOverSlots
    private let metrics: SenderMetrics
    private let logger: Logger
    private let roster: Mutex<RelayRoster>

    /// - Parameter slots: as many as all relays have connections; made fewer here while a relay cannot be used.
    init(
        _ configurations: [RelayConfiguration], slots: HandOverSlots, eventLoopGroup: any EventLoopGroup,
        metrics: SenderMetrics, logger: Logger
    ) {
        members = configurations.map { ($0, SMTPConnectionPool($0.smtp, eventLoopGroup: eventLoopGroup)) }
        roster = Mutex(
            RelayRoster(
                configurations.map {
                    RelayRoster.Entry(weight: $0.weight, connections: $0.smtp.maxConnections)
                }))
        self.slots = slots
        self.metrics = metrics
        self.logger = logger
    }

    var openConnections: Int { members.reduce(0) { $0 + $1.pool.openConnections } }

    /// How long to wait before any relay is tried again; nil when there is no reason to.
    var pauseNeeded: Duration? { roster.withLock { $0.pauseNeeded(at: .now) } }

    /// The names of the relays that cannot be used now.
    var troubled: [String] {
        let entries = roster.withLock { $0.entries }
        return zip(members, entries).compactMap { $1.health.isTroubled ? $0.configuration.name : nil }
    }

    var isUsable: Bool { roster.withLock { roster in roster.entries.contains { !$0.health.isTroubled } } }

    func watch(_ metrics: SenderMetrics) {
        for (index, member) in members.enumerated() {
            metrics.watch(
                relay: member.configuration.name, connections: { member.pool.openConnections },
                onTheWire: { self.roster.withLock { $0.entries[index].inUse } },
                isUsable: { self.roster.withLock { !$0.entries[index].health.isTroubled } })
        }
    }

    func close() async {
        await withDiscardingTaskGroup { group in
            for member in members { group.addTask { await member.pool.close() } }
        }
    }

    func deliver(
        _ message: ComposedMessage, deadline: ContinuousClock.Instant,
        entered: (@Sendable (SMTPStage) -> Void)? = nil, beforeDot: @escaping @Sendable () -> Void,
        afterDot: @escaping @Sendable () -> Void
    ) async -> SMTPOutcome {
        var tried: Set<Int> = []
        var last: SMTPOutcome?
        var isRefusedByAll = true
        while last == nil || ContinuousClock.now < deadline, let (index, isInLine) = take(except: tried) {
            tried.insert(index)
            let outcome = await members[index].pool.deliver(
                message.envelope, message: message.octets, dotDeadline: deadline, entered: entered,
                beforeDot: beforeDot, afterDot: afterDot)
            finish(index, outcome, isInLine: isInLine)
            guard outcome.mayGoElsewhere else { return outcome }
            isRefusedByAll = isRefusedByAll && outcome.isLocalRefusal
            last = outcome
        }
        switch last {
        case nil: return .deferred(nil, stage: .connect, reason: "no SMTP relay can be used now")
        case .rejected(let reply, let stage)? where !isRefusedByAll || tried.count < members.count:
            // Another relay may offer what this one does not.
            return .deferred(reply, stage: stage, reason: "the relay that could be asked cannot take it: \(reply)")
        case let last?: return last
        }
    }

    /// A slot is granted for a free connection; when its relay has failed since, the message stands in line at another.
    private func take(except tried: Set<Int>) -> (index: Int, isInLine: Bool)? {
        roster.withLock { roster in
            defer { slots.limit(to: roster.limit(at: .now)) }
            if let index = roster.take(at: .now, except: tried) { return (index, false) }
            return roster.takeInLine(except: tried).map { ($0, true) }
        }
    }

    private func finish(_ index: Int, _ outcome: SMTPOutcome, isInLine: Bool) {
        let name = members[index].configuration.name
        if isInLine, case .deferred(nil, .connect, _) = outcome {
            // It never got a connection, which says nothing about the relay.
            return roster.withLock { roster in
                roster.giveBack(index)
                slots.limit(to: roster.limit(at: .now))
            }
        }
        let trouble = outcome.relayTrouble
        let (hasChanged, retryAt) = roster.withLock { roster -> (Bool, ContinuousClock.Instant?) in
            roster.giveBack(index)
            let hasChanged =
                trouble == nil
                ? roster.worked(index)
                : roster.failed(index, at: .now, isCertain: outcome.isBeforeEnvelope)
            slots.limit(to: roster.limit(at: .now))
            return (hasChanged, roster.entries[index].health.blockedUntil)
        }
        metrics.answered(relay: name, trouble == nil ? outcome.word : "trouble")
        if hasChanged, let trouble {
            logger.error(
                "an SMTP relay cannot be used; messages go to others or wait",
                metadata: ["relay": "\(name)", "reason": "\(trouble)"])
        } else if hasChanged {
            logger.notice("an SMTP relay works again", metadata: ["relay": "\(name)"])
        }
        guard trouble != nil, let retryAt else { return }
        Task {
            try? await Task.sleep(until: retryAt)
            self.roster.withLock { self.slots.limit(to: $0.limit(at: .now)) }
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
