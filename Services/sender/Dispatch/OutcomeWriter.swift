import Delivery
import Logging
import Postgres
import Runtime
import Synchronization

/// Writes how attempts ended; outcomes that arrive while a write is under way go out together in the next one.
///
/// A slot is free when its outcome is committed, and not before; or a message that waits for it has it by the same commit
/// (`Decisions/0009`), and begins here. A failing write is repeated until it succeeds: the statement changes nothing the
/// second time.
final class OutcomeWriter: Sendable {
    private static let batchMax = 500
    /// How long the first outcome may wait for company: a write costs about the same for one as for twenty.
    private static let patience = Duration.milliseconds(2)

    private struct Entry {
        let settlement: Settlement
        /// Nil for what was taken back, of which there is no news.
        let wired: WiredMessage?
        let finished: @Sendable () -> Void

        var day: Int64 { DayStatement.day(of: settlement.delivery.blast) }
    }

    private struct Arrivals {
        var pending: [Entry] = []
        var isWriting = false
        /// Somebody will look when `patience` is over.
        var isTimed = false
    }

    private let database: PostgresPool
    private let slots: HandOverSlots
    private let reporter: OutcomeReporter?
    private let logger: Logger
    private let executor: EventLoopExecutor
    private let arrivals = Mutex(Arrivals())

    /// - Parameters:
    ///   - reporter: publishes facts as soon as they are committed; without it all are left to their rows.
    ///   - executor: where most outcomes come from, so that its thread is awake anyway. Writes are prepared there and
    ///     never stand in line behind messages being composed.
    init(
        database: PostgresPool, slots: HandOverSlots, reporter: OutcomeReporter?, logger: Logger,
        executor: EventLoopExecutor = .shared
    ) {
        self.database = database
        self.reporter = reporter
        self.slots = slots
        self.logger = logger
        self.executor = executor
    }

    /// Returns once the outcome is committed and its slot given back.
    func settle(_ settlement: Settlement, of wired: WiredMessage?) async {
        await withCheckedContinuation { continuation in
            settle(settlement, of: wired) { continuation.resume() }
        }
    }

    /// Returns at once.
    ///
    /// - Parameter finished: called once the outcome is committed and its slot given back; must not block.
    func settle(
        _ settlement: Settlement, of wired: WiredMessage?, finished: @escaping @Sendable () -> Void
    ) {
        let entry = Entry(settlement: settlement, wired: wired, finished: finished)
        look { $0.pending.append(entry) }
    }

    /// A third of what is under way is company enough to write at once; fewer wait for more.
    private func isCompany(_ count: Int) -> Bool { count * 3 >= slots.inUse }

    private func look(isLate: Bool = false, after change: (inout Arrivals) -> Void) {
        let (isDue, isFirst) = arrivals.withLock { arrivals in
            change(&arrivals)
            guard !arrivals.isWriting, !arrivals.pending.isEmpty else { return (false, false) }
            arrivals.isWriting = isLate || isCompany(arrivals.pending.count)
            guard !arrivals.isWriting, !arrivals.isTimed else { return (arrivals.isWriting, false) }
            arrivals.isTimed = true
            return (false, true)
        }
        if isDue { Task(executorPreference: executor) { await self.writePending() } }
        if isFirst { executor.schedule(after: Self.patience) { self.look(isLate: true) { $0.isTimed = false } } }
    }

    private func writePending() async {
        repeat {
            let batch = takeBatch()
            let successor = successor(of: batch)
            let (written, entered) = await write(batch, before: successor)
            for channel in Channel.allCases {
                let taken = successor?.channel == channel ? entered : 0
                slots.release(batch.count { $0.settlement.channel == channel } - taken, of: channel)
            }
            for entry in batch { entry.finished() }
            await report(batch, written)
        } while arrivals.withLock { !$0.pending.isEmpty && isCompany($0.pending.count) }
        look { $0.isWriting = false }
    }

    /// Blasts of different days have their rows in different tables.
    private func takeBatch() -> [Entry] {
        arrivals.withLock { arrivals in
            let day = arrivals.pending.first?.day
            var (batch, rest) = ([Entry](), [Entry]())
            for entry in arrivals.pending {
                if entry.day == day, batch.count < Self.batchMax { batch.append(entry) } else { rest.append(entry) }
            }
            arrivals.pending = rest
            return batch
        }
    }

    /// Lanes whose messages are to have the slots of the batch.
    private func successor(of batch: [Entry]) -> Successor? {
        guard let day = batch.first?.day, !OutcomeStatement(batch: batch.map(\.settlement)).releasesClaims
        else { return nil }
        for channel in Channel.allCases {
            let freed = batch.count { $0.settlement.channel == channel }
            if let found = slots.succeed(upTo: freed, of: channel, where: { DayStatement.day(of: $0.blast) == day }) {
                return found
            }
        }
        return nil
    }

    /// - Returns: and how many slots of the batch have been taken over.
    private func write(_ batch: [Entry], before successor: Successor?) async -> (OutcomeStatement.Written, Int) {
        let outage = OutageLog("writing outcomes", logger: logger)
        var backoff = Backoff(initial: .milliseconds(50), maximum: .seconds(2))
        var successor = successor
        while true {
            let reports = await reporter?.isOpen == true && batch.contains { $0.settlement.fact != nil }
            let statement = OutcomeStatement(batch: batch.map(\.settlement), reports: reports)
            let began = ContinuousClock.now
            do {
                guard let next = successor else {
                    let written = try await statement.write(database)
                    outage.worked()
                    return (written, 0)
                }
                let (written, result) = try await statement.write(database, before: next)
                slots.admit(next, .success(result), since: began)
                return (written, next.slots)
            } catch {
                outage.failed(error)
                if let next = successor {
                    // The outcomes alone may well be written.
                    slots.admit(next, .failure(error), since: began)
                    successor = nil
                } else {
                    try? await Task.sleep(for: backoff.next())
                }
            }
        }
    }

    /// When an outcome changed nothing, only the rows can say which: they are taken back.
    private func report(_ batch: [Entry], _ written: OutcomeStatement.Written) async {
        guard let number = written.report, written.settled == batch.count else { return }
        let facts = batch.compactMap { entry in
            entry.wired.flatMap {
                AttemptFact(entry.settlement, of: $0, settledAtMicroseconds: written.settledAtMicroseconds)
            }
        }
        await reporter?.publish(OutcomeReporter.Report(number: number, facts: facts))
    }
}
