import Synchronization

/// How many messages may be between WIRE and their durable outcome: for each channel as many as its relays have
/// connections, less those of relays that cannot be used. So a service that hangs holds what is its own, and the other
/// channel goes on.
///
/// That number bounds what a killed process leaves in doubt, so a slot is only given back when the outcome is
/// committed. Emergency waits in front of general, otherwise first come first served.
final class HandOverSlots: Sendable {
    private struct Waiter {
        let id: UInt64
        let wanted: Int
        let isEmergency: Bool
        let since: ContinuousClock.Instant
        let offer: WireOffer?
        let continuation: CheckedContinuation<Admission, Never>
    }

    private struct Share {
        let capacity: Int
        var limit: Int
        var inUse = 0
        var waiters: [Waiter] = []
        /// Somebody waited as long as is worth it, and no slot has come back since.
        var isStalled = false

        init(capacity: Int) {
            self.capacity = capacity
            limit = capacity
        }

        mutating func grant() -> [(Waiter, Int)] {
            var grants: [(Waiter, Int)] = []
            while inUse < limit, !waiters.isEmpty {
                let waiter = waiters.removeFirst()
                grants.append((waiter, take(upTo: waiter.wanted)))
            }
            return grants
        }

        mutating func take(upTo wanted: Int) -> Int {
            let granted = max(0, min(wanted, limit - inUse))
            inUse += granted
            return granted
        }
    }

    private struct State {
        var shares: [Channel: Share]
        var isClosed = false
        var nextID: UInt64 = 0
        var idleWaiters: [CheckedContinuation<Void, Never>] = []

        var inUse: Int { shares.values.reduce(0) { $0 + $1.inUse } }
    }

    /// How long a lane waits for slots of one channel while another channel may have work for it.
    private static let patience = Duration.seconds(1)
    private static let crowdedAfter = Duration.milliseconds(50)

    /// The channels that something is set up for.
    let channels: [Channel]
    private let state: Mutex<State>

    init(_ capacities: [Channel: Int]) {
        channels = Channel.allCases.filter { capacities[$0] != nil }
        state = Mutex(State(shares: capacities.mapValues(Share.init)))
    }

    convenience init(capacity: Int) {
        self.init([.email: capacity])
    }

    /// Whose slots the messages of a channel hold: its own, or any, for one that nothing is set up for; nothing of it is
    /// handed over, but what is decided about it passes here.
    func owner(of channel: Channel) -> Channel { channels.contains(channel) ? channel : channels.first ?? channel }

    var inUse: Int { state.withLock { $0.inUse } }

    /// How many lanes wait for one.
    var waiting: Int { state.withLock { $0.shares.values.reduce(0) { $0 + $1.waiters.count } } }

    var isClosed: Bool { state.withLock { $0.isClosed } }

    /// Takes up to `wanted` slots, and waits until there is at least one: without end while this is the only channel,
    /// else for a moment.
    ///
    /// - Parameter offer: the messages that want them. Slots that outcomes are about to free may then be taken over in
    ///   the statement that writes those (``succeed(upTo:of:where:)``).
    func admission(
        upTo wanted: Int, of asked: Channel = .email, isEmergency: Bool, offer: WireOffer?
    ) async -> Admission {
        let channel = owner(of: asked)
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        var timer: Task<Void, Never>?
        defer { timer?.cancel() }
        return await withCheckedContinuation { continuation in
            let granted = state.withLock { state -> Int? in
                guard !state.isClosed, var share = state.shares[channel] else { return 0 }
                defer { state.shares[channel] = share }
                guard share.inUse < share.limit, share.waiters.isEmpty || isEmergency else {
                    let waiter = Waiter(
                        id: id, wanted: wanted, isEmergency: isEmergency, since: .now, offer: offer,
                        continuation: continuation)
                    let place = isEmergency ? share.waiters.firstIndex { !$0.isEmergency } : nil
                    share.waiters.insert(waiter, at: place ?? share.waiters.endIndex)
                    return nil
                }
                return share.take(upTo: wanted)
            }
            if let granted { return continuation.resume(returning: Admission(slots: granted)) }
            guard channels.count > 1 else { return }
            timer = Task {
                guard (try? await Task.sleep(for: Self.patience)) != nil else { return }
                giveUp(id, channel)
            }
        }
    }

    /// The same for who offers nothing: how many slots.
    func acquire(upTo wanted: Int, of channel: Channel = .email, isEmergency: Bool) async -> Int {
        await admission(upTo: wanted, of: channel, isEmergency: isEmergency, offer: nil).slots
    }

    private func giveUp(_ id: UInt64, _ channel: Channel) {
        let waiter = state.withLock { state -> Waiter? in
            guard let place = state.shares[channel]?.waiters.firstIndex(where: { $0.id == id }) else { return nil }
            state.shares[channel]?.isStalled = true
            return state.shares[channel]?.waiters.remove(at: place)
        }
        waiter?.continuation.resume(returning: Admission(slots: 0))
    }

    /// Whether somebody waited in vain and no slot of the channel has come back since.
    func isStalled(_ channel: Channel) -> Bool {
        state.withLock { state in
            guard let share = state.shares[channel], share.inUse >= share.limit else { return false }
            return share.isStalled
        }
    }

    /// Channels that a lane with other than emergency work should not begin with now, because it would only wait and
    /// another channel has slots of its own.
    var crowded: [Channel] {
        guard channels.count > 1 else { return [] }
        let now = ContinuousClock.now
        return state.withLock { state in
            channels.filter { channel in
                guard let share = state.shares[channel], share.inUse >= share.limit else { return false }
                return share.isStalled
                    || share.waiters.contains { $0.since.duration(to: now) >= Self.crowdedAfter }
            }
        }
    }

    /// Who is first in line, if it offers messages that fit, and who follows with the same blast: they are to take over
    /// slots that outcomes hold. Nothing is counted anew; ``admit(_:_:since:)`` must follow.
    func succeed(upTo freed: Int, of holder: Channel, where fits: (WireOffer) -> Bool) -> Successor? {
        let channel = owner(of: holder)
        let parts = state.withLock { state -> [Successor.Part] in
            guard var share = state.shares[channel] else { return [] }
            defer { state.shares[channel] = share }
            var parts: [Successor.Part] = []
            var free = freed - max(0, share.inUse - share.limit)
            while free > 0, let next = share.waiters.first, let offer = next.offer, fits(offer),
                parts.allSatisfy({ $0.offer.blast == offer.blast && $0.offer.token == offer.token })
            {
                let prepared = offer.prepared.prefix(free)
                parts.append(
                    Successor.Part(offer: offer, prepared: prepared) { next.continuation.resume(returning: $0) })
                share.waiters.removeFirst()
                free -= prepared.count
            }
            return parts
        }
        return (parts.first?.offer).map {
            Successor(channel: channel, blast: $0.blast, token: $0.token, wire: $0.wire, parts: parts)
        }
    }

    /// Tells the lanes what became of their messages. When that is not known, they hold slots beside the outcomes, which
    /// keep theirs.
    func admit(_ successor: Successor, _ wired: Result<WireResult, any Error>, since: ContinuousClock.Instant) {
        state.withLock { state in
            switch wired {
            case .success: state.shares[successor.channel]?.isStalled = false
            case .failure: state.shares[successor.channel]?.inUse += successor.slots
            }
        }
        successor.admit(wired, since: since)
    }

    func release(_ count: Int, of holder: Channel = .email) {
        guard count > 0 else { return }
        let channel = owner(of: holder)
        let (grants, idle) = state.withLock { state -> ([(Waiter, Int)], [CheckedContinuation<Void, Never>]) in
            state.shares[channel]?.inUse -= count
            precondition(state.shares[channel]?.inUse ?? -1 >= 0, "more slots came back than were taken")
            state.shares[channel]?.isStalled = false
            let grants = state.isClosed ? [] : state.shares[channel]?.grant() ?? []
            guard state.inUse == 0 else { return (grants, []) }
            let idle = state.idleWaiters
            state.idleWaiters = []
            return (grants, idle)
        }
        for (waiter, granted) in grants { waiter.continuation.resume(returning: Admission(slots: granted)) }
        for waiter in idle { waiter.resume() }
    }

    /// From now on at most so many at once, within the capacity; who is in already stays.
    func limit(to count: Int, of channel: Channel = .email) {
        let grants = state.withLock { state -> [(Waiter, Int)] in
            guard let capacity = state.shares[channel]?.capacity else { return [] }
            state.shares[channel]?.limit = min(count, capacity)
            return state.isClosed ? [] : state.shares[channel]?.grant() ?? []
        }
        for (waiter, granted) in grants { waiter.continuation.resume(returning: Admission(slots: granted)) }
    }

    /// Lets nobody in any more; those who wait get 0.
    func close() {
        let waiters = state.withLock { state -> [Waiter] in
            state.isClosed = true
            return channels.flatMap { channel -> [Waiter] in
                defer { state.shares[channel]?.waiters = [] }
                return state.shares[channel]?.waiters ?? []
            }
        }
        for waiter in waiters { waiter.continuation.resume(returning: Admission(slots: 0)) }
    }

    /// Returns true once no slot is in use, false when that took longer than `bound`.
    func drain(within bound: Duration) async -> Bool {
        let deadline = ContinuousClock.now + bound
        let timer = Task {
            try await Task.sleep(until: deadline)
            for waiter in self.takeIdleWaiters() { waiter.resume() }
        }
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                if state.inUse == 0 || ContinuousClock.now >= deadline { return true }
                state.idleWaiters.append(continuation)
                return false
            }
            if isOver { continuation.resume() }
        }
        timer.cancel()
        return inUse == 0
    }

    private func takeIdleWaiters() -> [CheckedContinuation<Void, Never>] {
        state.withLock { state in
            defer { state.idleWaiters = [] }
            return state.idleWaiters
        }
    }
}
