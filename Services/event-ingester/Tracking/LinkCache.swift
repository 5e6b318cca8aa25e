import Delivery
import Runtime
import Synchronization

/// The links of recently clicked blasts.
///
/// A known link is answered without the database, also when it is away. An unknown one is loaded, once for all who ask
/// for that blast; a caller waits for `patience` only, and the load goes on for the next one.
///
/// Limits: blasts and octets are bounded, the oldest are forgotten first; links of a blast that may still get an expiry
/// are looked up again after a while.
final class LinkCache: Sendable {
    enum Answer: Sendable, Equatable {
        case destination(String)
        case unknown
        /// The database did not answer in time.
        case notNow
    }

    private struct Entry {
        let links: BlastLinks
        let freshUntil: ContinuousClock.Instant
    }

    private struct Waiter {
        let id: UInt64
        let continuation: CheckedContinuation<BlastLinks?, Never>
    }

    private struct State {
        var entries: [BlastID: Entry] = [:]
        /// In the order of arrival.
        var order: [BlastID] = []
        var octets = 0
        var loads: [BlastID: [Waiter]] = [:]
        var nextID: UInt64 = 0
    }

    private static let loadsMax = 32

    private let blastsMax: Int
    private let octetsMax: Int
    private let patience: Duration
    private let load: @Sendable (BlastID) async throws -> BlastLinks
    private let state = Mutex(State())

    init(
        blastsMax: Int = 4096, octetsMax: Int = 16 << 20, patience: Duration = .milliseconds(250),
        load: @escaping @Sendable (BlastID) async throws -> BlastLinks
    ) {
        self.blastsMax = blastsMax
        self.octetsMax = octetsMax
        self.patience = patience
        self.load = load
    }

    func destination(of blast: BlastID, link: Int16) async -> Answer {
        guard let links = await links(of: blast) else { return .notNow }
        return Self.answer(links, link)
    }

    /// The answers of a blast, none when it has none or is over; nil when the database did not answer in time.
    func answers(of blast: BlastID) async -> [String]? {
        guard let links = await links(of: blast) else { return nil }
        if let end = links.expiresAtMicroseconds, end <= WallClock.nowMicroseconds() { return [] }
        return links.answers
    }

    private func links(of blast: BlastID) async -> BlastLinks? {
        let known = state.withLock { $0.entries[blast] }
        if let known, known.freshUntil > .now { return known.links }
        return await loaded(blast) ?? known?.links
    }

    private static func answer(_ links: BlastLinks, _ link: Int16) -> Answer {
        if let end = links.expiresAtMicroseconds, end <= WallClock.nowMicroseconds() { return .unknown }
        return links.destinations[link].map(Answer.destination) ?? .unknown
    }

    /// Nil when the load failed or took too long, or when too many are under way.
    private func loaded(_ blast: BlastID) async -> BlastLinks? {
        await withCheckedContinuation { continuation in
            let (id, isFirst) = state.withLock { state -> (UInt64?, Bool) in
                let isFirst = state.loads[blast] == nil
                guard !isFirst || state.loads.count < Self.loadsMax else { return (nil, false) }
                state.nextID += 1
                state.loads[blast, default: []].append(Waiter(id: state.nextID, continuation: continuation))
                return (state.nextID, isFirst)
            }
            guard let id else { return continuation.resume(returning: nil) }
            if isFirst { Task { self.finish(blast, try? await self.load(blast)) } }
            Task {
                try? await Task.sleep(for: self.patience)
                self.giveUp(blast, id)
            }
        }
    }

    private func finish(_ blast: BlastID, _ links: BlastLinks?) {
        let waiters = state.withLock { state in
            if let links { keep(links, of: blast, in: &state) }
            return state.loads.removeValue(forKey: blast) ?? []
        }
        for waiter in waiters { waiter.continuation.resume(returning: links) }
    }

    private func giveUp(_ blast: BlastID, _ id: UInt64) {
        let waiter = state.withLock { state -> Waiter? in
            guard let index = state.loads[blast]?.firstIndex(where: { $0.id == id }) else { return nil }
            return state.loads[blast]?.remove(at: index)
        }
        waiter?.continuation.resume(returning: nil)
    }

    private func keep(_ links: BlastLinks, of blast: BlastID, in state: inout State) {
        let lifetime: Duration =
            links.destinations.isEmpty && links.answers.isEmpty
            ? .seconds(30) : links.expiresAtMicroseconds == nil ? .seconds(600) : .seconds(86400)
        let entry = Entry(links: links, freshUntil: .now + lifetime)
        if let before = state.entries.updateValue(entry, forKey: blast) {
            state.octets -= before.links.octets
        } else {
            state.order.append(blast)
        }
        state.octets += links.octets
        while state.order.count > blastsMax || state.octets > octetsMax, !state.order.isEmpty {
            let oldest = state.order.removeFirst()
            state.octets -= state.entries.removeValue(forKey: oldest)?.links.octets ?? 0
        }
    }
}
