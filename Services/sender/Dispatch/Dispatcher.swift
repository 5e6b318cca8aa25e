import Delivery
import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Takes cleared chunks and due retries and puts their messages on the wire.
///
/// Lanes prepare messages and write WIRE, or have it written with the outcomes that free slots for them; hand-overs run
/// beside them, as many as there are connections. A lane therefore renders the next messages while the previous ones are
/// being sent. One lane takes emergency chunks only,
/// so that they never wait for a general one.
///
/// A stop ends the lanes at the next window, waits for what is on the wire within a bound, and leaves the rest to be
/// found in doubt.
struct Dispatcher: Service {
    enum Lane: String, CaseIterable, Sendable {
        case emergency, first, second, third, retries
    }

    /// Why a lane lets go of a chunk before it is done.
    enum Interruption: Error {
        case stopping, leaseLost, paused, notSending
    }

    let configuration: SenderConfiguration
    let lease: SenderLease
    let queue: ChunkQueue
    let retries: RetryQueue
    let documents: BlastDocuments
    let composer: MessageComposer
    let wire: Wire
    let rates: SendRates
    let slots: HandOverSlots
    let relays: Relays
    let handOver: HandOver
    let writer: OutcomeWriter
    let metrics: SenderMetrics
    let logger: Logger
    let stuck: [Lane: StuckLoop]
    let drainBound: Duration

    func run() async throws {
        try await withGracefulShutdownHandler {
            try await withThrowingDiscardingTaskGroup { group in
                for lane in Lane.allCases { group.addTask { try await self.run(lane) } }
            }
        } onGracefulShutdown: {
            slots.close()
        }
        FaultPoint.reach("sender.in-drain")
        if await !slots.drain(within: drainBound) {
            logger.warning("stopping with messages on the wire", metadata: ["messages": "\(slots.inUse)"])
        }
    }

    private func run(_ lane: Lane) async throws {
        let outage = OutageLog("dispatch lane \(lane.rawValue)", logger: logger)
        var backoff = Backoff(initial: .milliseconds(100), maximum: .seconds(5))
        while !Task.isShuttingDownGracefully {
            try Task.checkCancellation()
            stuck[lane]?.turn()
            var wait: Duration?
            do {
                let didWork = try await turn(lane)
                outage.worked()
                backoff.reset()
                wait = didWork ? nil : .milliseconds(200)
            } catch is Interruption {
                wait = .milliseconds(200)
            } catch let error as CancellationError {
                throw error
            } catch {
                outage.failed(error)
                wait = backoff.next()
            }
            if let wait, try await pause(for: wait) { return }
        }
    }

    private func turn(_ lane: Lane) async throws -> Bool {
        guard let token = await lease.current else { return false }
        if let pauseNeeded = relays.pauseNeeded {
            _ = try await pause(for: pauseNeeded)
            return true
        }
        if lane == .retries { return try await retry(token) }
        return try await workOnNextChunk(token, lane)
    }

    // MARK: Chunks

    private func workOnNextChunk(_ token: LeaseToken, _ lane: Lane) async throws -> Bool {
        let chunk: LeasedChunk
        do {
            // An emergency stands in line: it is in front there.
            let taken = try await queue.take(
                token, onlyEmergency: lane == .emergency, except: lane == .emergency ? [] : slots.crowded)
            guard let taken else { return false }
            chunk = taken
        } catch {
            // Perhaps a chunk was taken that nobody knows of: only a new token frees it.
            await lease.surrender(token)
            throw error
        }
        FaultPoint.reach("sender.after-claim")
        do {
            try await work(on: chunk, token, lane)
            return true
        } catch {
            do {
                try await queue.release(chunk, token)
            } catch {
                await lease.surrender(token)
            }
            throw error
        }
    }

    private func work(on chunk: LeasedChunk, _ token: LeaseToken, _ lane: Lane) async throws {
        var wait = Duration.zero
        var octets = 0
        var next = try await window(of: chunk, from: chunk.first)
        while let window = next {
            guard !Task.isShuttingDownGracefully else { throw Interruption.stopping }
            stuck[lane]?.turn()
            octets = window.messages.map(Self.octets) ?? octets
            let isLight = octets <= Self.mostInAdvance
            async let following = self.window(of: chunk, from: window.last + 1, composed: isLight)
            let recipients = window.recipients
            let crowded = chunk.isEmergency ? [] : slots.crowded
            let open = recipients.indices.filter {
                let channel = Channel(address: recipients[$0].address)
                let pause = crowded.contains(channel) ? Self.crowdedPause : relays.pauseNeeded(for: channel)
                guard let pause, !chunk.hasEnded || crowded.contains(channel) else { return true }
                wait = max(wait, pause, .milliseconds(200))
                return false
            }
            let room = try await rates.room(
                for: open.map { SendRates.domain(of: recipients[$0].address) }, isEmergency: chunk.isEmergency,
                hasEnded: chunk.hasEnded
            ) { relays.shares(of: $0, on: Channel(address: recipients.last?.address ?? "")) }
            let going = zip(open, room.mayGo).filter(\.1).map(\.0)
            let messages =
                if let composed = window.messages {
                    going.map { composed[$0] }
                } else {
                    await compose(going.map { recipients[$0] }, of: chunk, window.document)
                }
            octets = Self.octets(of: messages)
            if !messages.isEmpty, try await !send(messages, of: chunk, window.document, token, lane) {
                wait = max(wait, Self.crowdedPause)
            }
            wait = max(wait, room.wait)
            if room.isOver { break }
            next = try await following
        }
        guard wait == .zero else {
            metrics.chunksPaced.increment()
            return try await queue.postpone(chunk, token, for: wait)
        }
        guard try await queue.finish(chunk, token) else {
            logger.error(
                "a cleared chunk has recipients without decision or attempt",
                metadata: ["blast": "\(chunk.blast)", "chunk": "\(chunk.number)"])
            _ = try await pause(for: .seconds(5))
            throw Interruption.notSending
        }
    }

    /// - Returns: false when a channel had no slots for some, who are left.
    private func send(
        _ prepared: [Prepared], of chunk: LeasedChunk, _ document: BlastDocument, _ token: LeaseToken, _ lane: Lane
    ) async throws -> Bool {
        var isComplete = true
        for channel in Channel.allCases {
            let rest = prepared.filter { $0.channel == channel }
            if !rest.isEmpty, try await !send(rest[...], over: channel, of: chunk, document, token, lane) {
                isComplete = false
            }
        }
        return isComplete
    }

    private func send(
        _ prepared: ArraySlice<Prepared>, over channel: Channel, of chunk: LeasedChunk, _ document: BlastDocument,
        _ token: LeaseToken, _ lane: Lane
    ) async throws -> Bool {
        var rest = prepared
        while !rest.isEmpty {
            stuck[lane]?.turn()
            if let pauseNeeded = relays.pauseNeeded, try await pause(for: pauseNeeded) { throw Interruption.stopping }
            let admission = await slots.admission(
                upTo: rest.count, of: channel, isEmergency: chunk.isEmergency,
                offer: WireOffer(prepared: rest, blast: chunk.blast, token: token, wire: wire) {
                    verdicts, portion, since in
                    begin(verdicts, of: portion, document, since)
                })
            let granted = admission.slots
            guard granted > 0 else {
                if slots.isClosed { throw Interruption.stopping }
                return false
            }
            let portion = rest.prefix(granted)
            let result: WireResult
            do {
                if let wired = admission.wired {
                    result = try wired.get()
                } else {
                    result = try await wire.write(portion.map(\.entry), of: chunk.blast, token)
                }
            } catch {
                await withdraw(portion, of: chunk.blast, token, after: error)
                throw error
            }
            switch result {
            case .decided(let verdicts):
                if admission.wired == nil { begin(verdicts, of: portion, document, admission.since) }
                rest = rest.dropFirst(granted)
            case .guardStale:
                slots.release(granted, of: channel)
                metrics.guardStale.increment()
                if try await pause(for: .milliseconds(500)) { throw Interruption.stopping }
            case .leaseLost:
                slots.release(granted, of: channel)
                throw Interruption.leaseLost
            case .paused:
                slots.release(granted, of: channel)
                throw Interruption.paused
            case .notSending:
                slots.release(granted, of: channel)
                throw Interruption.notSending
            }
        }
        return true
    }

    /// How long the recipients of a channel without free slots are left, while others may go.
    private static let crowdedPause = Duration.milliseconds(250)

    // MARK: Retries

    private func retry(_ token: LeaseToken) async throws -> Bool {
        var didWork = false
        for due in try await retries.blastsWithDue(limit: 8) {
            guard let document = try await documents.document(due.blast) else { continue }
            for channel in slots.channels where !slots.isStalled(channel) {
                guard !Task.isShuttingDownGracefully else { return true }
                let granted = await slots.acquire(
                    upTo: min(configuration.window, due.count), of: channel, isEmergency: document.isEmergency)
                guard granted > 0 else { continue }
                if try await retry(granted, over: channel, of: due, document, token) { didWork = true }
            }
        }
        return didWork
    }

    /// - Parameter channel: whose slots are held.
    private func retry(
        _ granted: Int, over channel: Channel, of dueBlast: RetryQueue.DueBlast, _ document: BlastDocument,
        _ token: LeaseToken
    ) async throws -> Bool {
        let blast = dueBlast.blast
        let wiredAt = ContinuousClock.now
        let now = WallClock.nowMicroseconds() / 1_000_000
        let pulled = PulledRetries()
        let result: WireResult
        do {
            let channels = Channel.allCases.filter { slots.owner(of: $0) == channel }
            result = try await retries.pull(upTo: granted, of: blast, over: channels) { due, connection in
                let isOpen = due.map {
                    dueBlast.hasEnded || relays.pauseNeeded(for: Channel(address: $0.recipient.address)) == nil
                }
                let open = zip(due, isOpen).filter(\.1).map(\.0)
                let room = try await rates.room(
                    for: open.map { SendRates.domain(of: $0.recipient.address) }, isEmergency: document.isEmergency,
                    hasEnded: dueBlast.hasEnded
                ) { relays.shares(of: $0, on: Channel(address: open.first?.recipient.address ?? "")) }
                let late =
                    zip(due, isOpen).filter { !$0.1 }.map(\.0) + zip(open, room.mayGo).filter { !$0.1 }.map(\.0)
                try await retries.postpone(late, of: blast, for: max(room.wait, .seconds(1)), on: connection)
                let prepared = zip(open, room.mayGo).filter(\.1).map(\.0).map { due in
                    Prepared(
                        composer.compose(due.recipient, of: document, unixSeconds: now), recipient: due.recipient,
                        attempt: due.attempt + 1, chunk: due.chunk, deferrals: due.deferrals, isResend: due.isResend)
                }
                guard !prepared.isEmpty else { return .decided([]) }
                pulled.set(prepared)
                return try await wire.write(prepared.map(\.entry), of: blast, token, on: connection)
            }
        } catch {
            let prepared = pulled.current
            slots.release(granted - prepared.count, of: channel)
            await withdraw(prepared, of: blast, token, after: error)
            throw error
        }
        guard case .decided(let verdicts) = result else {
            slots.release(granted, of: channel)
            if result == .leaseLost { throw Interruption.leaseLost }
            return false
        }
        slots.release(granted - pulled.current.count, of: channel)
        begin(verdicts, of: pulled.current, document, wiredAt)
        return !verdicts.isEmpty
    }

    // MARK: The wire

    /// Each of the prepared holds a slot.
    private func begin(
        _ verdicts: [WireVerdict], of prepared: some Collection<Prepared>, _ document: BlastDocument,
        _ wiredAt: ContinuousClock.Instant
    ) {
        let byNumber = Dictionary(uniqueKeysWithValues: prepared.map { ($0.entry.recipientNumber, $0) })
        var wired: [WiredMessage] = []
        for verdict in verdicts {
            guard verdict.state == .wire, let item = byNumber[verdict.recipientNumber], let message = item.message
            else {
                metrics.settled(verdict.state)
                continue
            }
            wired.append(
                WiredMessage(
                    delivery: DeliveryID(blast: document.blast, recipientNumber: verdict.recipientNumber),
                    district: document.district, attempt: verdict.attempt, deferrals: item.deferrals, message: message,
                    wiredAt: wiredAt, wireAtMicroseconds: verdict.wireAtMicroseconds))
        }
        for channel in Channel.allCases {
            slots.release(
                prepared.count { $0.channel == channel } - wired.count { $0.message.channel == channel }, of: channel)
        }
        if !wired.isEmpty { FaultPoint.reach("sender.after-wire") }
        for message in wired { handOver.begin(message) }
    }

    /// Whether WIRE took effect is not known, but nothing was handed over: rows that stand are put back. Rows may even
    /// appear after that, as long as the lost connection's statement runs on: only a new token leaves those to the reaper.
    private func withdraw(
        _ prepared: some Sequence<Prepared>, of blast: BlastID, _ token: LeaseToken, after error: any Error
    ) async {
        await withDiscardingTaskGroup { group in
            for item in prepared {
                let delivery = DeliveryID(blast: blast, recipientNumber: item.entry.recipientNumber)
                var settlement = Settlement(
                    withdrawn: delivery, attempt: item.entry.attempt, token: token,
                    reason: "the database did not confirm that the attempt began; nothing was sent")
                settlement.channel = item.channel
                group.addTask { [settlement] in await writer.settle(settlement, of: nil) }
            }
        }
        // A refused statement is rolled back, whatever comes later.
        if (error as? PostgresError)?.code != .server { await lease.surrender(token) }
    }
}

/// A delivery composed and ready for WIRE. A reference, since it passes through many hands.
final class Prepared: Sendable {
    let entry: WireEntry
    let channel: Channel
    let message: ComposedMessage?
    let deferrals: Int

    init(
        _ composition: Composition, recipient: Recipient, attempt: Int32, chunk: Int32, deferrals: Int, isResend: Bool
    ) {
        let fault: CompositionFault?
        switch composition.result {
        case .success(let composed): (message, fault) = (composed, nil)
        case .failure(let found): (message, fault) = (nil, found)
        }
        channel = Channel(address: recipient.address)
        entry = WireEntry(
            recipientNumber: recipient.number, attempt: attempt, chunk: chunk, addressHash: recipient.addressHash,
            contentHash: composition.contentHash, isResend: isResend, fault: fault)
        self.deferrals = deferrals
    }
}
