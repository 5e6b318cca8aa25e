import Delivery
import Logging
import Mail
import Postgres
import Runtime
import SMTP
import Synchronization
import TestKit
import Testing

@testable import sender

@Suite("Slots taken over")
struct SlotsTakenOverTests {
    @Test func `an outcome and WIRE of who waits for its slot are one commit`() async throws {
        let rig = try await DispatchRig.make("taken_over")
        let (first, second) = (try await rig.blast(["a"]), try await rig.blast(["b", "c"]))
        let (admission, slots) = try await Self.exchange(rig, first, .accepted, for: second, ["b", "c"])
        #expect(admission.slots == 1)
        let verdicts = try Self.verdicts(admission)
        #expect(verdicts.map(\.recipientNumber) == [1] && verdicts.map(\.state) == [.wire])
        #expect(try await rig.attempts(first) == ["1/1 accepted 20"])
        #expect(try await rig.attempts(second) == ["1/1 wire"])
        let commits = try await rig.owner.query("SELECT count(DISTINCT xmin::text) AS n FROM attempt")[0].int("n")
        #expect(commits == 1)
        #expect(slots.inUse == 1)
        await rig.close()
    }

    enum Obstacle: CaseIterable {
        case staleGuard, lostLease, pausedBlast, otherDay, refusal
    }

    @Test(arguments: Obstacle.allCases)
    func `nothing that keeps a message back keeps an outcome back`(_ obstacle: Obstacle) async throws {
        let rig = try await DispatchRig.make("obstacle_\(obstacle)".lowercased())
        let first = try await rig.blast(["a"])
        var second = try await rig.blast(["b"])
        var token = rig.lease
        _ = try await rig.verdicts([rig.entry(1, "a")], first)
        switch obstacle {
        case .staleGuard: try await DispatchWireTests.makeGuardStale(rig)
        case .lostLease: token = LeaseToken(high: 1, low: 2)
        case .pausedBlast:
            try await rig.change("UPDATE blast SET paused_at = clock_timestamp() WHERE blast_id = $1", second)
        case .otherDay: second = BlastID(high: second.high - 86_400_000 << 16, low: second.low)
        case .refusal: break
        }
        let (admission, slots) = try await Self.exchange(
            rig, first, obstacle == .refusal ? .rejected : .accepted, for: second, ["b"], token, isWired: true)
        #expect(admission.slots == 1)
        switch obstacle {
        case .staleGuard: #expect(try admission.wired?.get() == .guardStale)
        case .lostLease: #expect(try admission.wired?.get() == .leaseLost)
        case .pausedBlast: #expect(try admission.wired?.get() == .paused)
        case .otherDay, .refusal: #expect(admission.wired == nil, "the lane writes WIRE itself")
        }
        #expect(try await rig.attempts(first) == [obstacle == .refusal ? "1/1 rejected 27" : "1/1 accepted 20"])
        #expect(try await rig.attempts(second).isEmpty)
        #expect(slots.inUse == 1, "the lane has the slot")
        await rig.close()
    }

    @Test func `I-14: the same content that its slot is freed for asks again, and is a duplicate then`() async throws {
        let rig = try await DispatchRig.make("same_content")
        let (first, second) = (try await rig.blast(["a"]), try await rig.blast(["a"]))
        let (admission, _) = try await Self.exchange(rig, first, .accepted, for: second, ["a"])
        #expect(try Self.verdicts(admission).map(\.state) == [.requeued])
        #expect(try await rig.attempts(first) == ["1/1 accepted 20"])
        #expect(try await rig.attempts(second) == ["1/1 requeued due"])
        let again = try await rig.verdicts([rig.entry(1, "a", attempt: 2)], second)
        #expect(again.map(\.fact) == [.duplicate])
        await rig.close()
    }

    @Test func `an error of WIRE leaves the outcome written and the messages with slots of their own`() async throws {
        let rig = try await DispatchRig.make("wire_error")
        let (first, second) = (try await rig.blast(["a"]), try await rig.blast(["b"]))
        _ = try await rig.verdicts([rig.entry(1, "b")], second)
        let (admission, slots) = try await Self.exchange(rig, first, .accepted, for: second, ["b"])
        #expect(throws: PostgresError.self) { try admission.wired?.get() }
        #expect(admission.wired != nil)
        #expect(try await rig.attempts(first) == ["1/1 accepted 20"])
        #expect(try await rig.attempts(second) == ["1/1 wire"], "as it was")
        #expect(slots.inUse == 1)
        await rig.close()
    }

    @Test func `a connection lost in between loses no outcome and lets no message out`() async throws {
        let rig = try await DispatchRig.make("cut_between")
        let (first, second) = (try await rig.blast(["a"]), try await rig.blast(["b"]))
        _ = try await rig.verdicts([rig.entry(1, "a")], first)
        let exchanged = try await rig.owner.withTransaction { connection in
            _ = try await connection.query("LOCK TABLE content_claim IN SHARE MODE")
            let exchanged = Task { try await Self.exchange(rig, first, .accepted, for: second, ["b"], isWired: true) }
            try await eventually("the statement waits, and its connection is cut") {
                try await !rig.owner.query(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'
                    """
                ).isEmpty
            }
            return exchanged
        }
        let (admission, slots) = try await exchanged.value
        #expect(throws: PostgresError.self) { try admission.wired?.get() }
        #expect(try await rig.attempts(first) == ["1/1 accepted 20"])
        #expect(try await rig.attempts(second).isEmpty)
        #expect(slots.inUse == 1)
        await rig.close()
    }

    @Test(.timeLimit(.minutes(1)))
    func `a claim that somebody holds on to keeps the message back, and the outcome only for a while`()
        async throws
    {
        let rig = try await DispatchRig.make("claim_held")
        let (first, second) = (try await rig.blast(["a"]), try await rig.blast(["b"]))
        _ = try await rig.verdicts([rig.entry(1, "a")], first)
        var impatient = rig.database.role("rollcall_dispatch")
        impatient.lockTimeout = .milliseconds(200)
        impatient.statementTimeout = nil
        let pool = PostgresPool(impatient, size: 2)
        let (admission, attempts) = try await rig.owner.withTransaction { connection in
            _ = try await connection.query("LOCK TABLE content_claim IN SHARE MODE")
            let (admission, _) = try await Self.exchange(
                rig, first, .accepted, for: second, ["b"], isWired: true, over: pool)
            return (admission, try await rig.attempts(first))
        }
        #expect(attempts == ["1/1 accepted 20"], "the claims are still locked")
        let error = #expect(throws: PostgresError.self) { try admission.wired?.get() }
        #expect(error?.code == .server, "nothing was done, so that the lease is kept")
        #expect(try await rig.attempts(second).isEmpty)
        await pool.close()
        await rig.close()
    }

    @Test func `an emergency is the first to take slots over, and a lowered limit takes them away`() async throws {
        let slots = HandOverSlots(capacity: 2)
        func offer(_ number: UInt64) -> WireOffer {
            WireOffer(
                prepared: [Self.prepared(1, "a"), Self.prepared(2, "b")], blast: BlastID(high: number, low: 0),
                token: LeaseToken(high: 0, low: 0), wire: Self.nowhere
            ) { _, _, _ in }
        }
        #expect(await slots.acquire(upTo: 2, isEmergency: false) == 2)
        async let general = slots.admission(upTo: 2, of: .email, isEmergency: false, offer: offer(1))
        try await eventually("it waits") { slots.waiting == 1 }
        async let emergency = slots.admission(upTo: 2, of: .email, isEmergency: true, offer: offer(2))
        try await eventually("both wait") { slots.waiting == 2 }
        #expect(slots.succeed(upTo: 2, of: .email) { $0.blast.high == 1 } == nil, "nobody passes the first in line")
        let successor = try #require(slots.succeed(upTo: 1, of: .email) { _ in true })
        #expect(successor.parts.map(\.offer.blast.high) == [2] && successor.slots == 1)
        slots.admit(successor, .success(.paused), since: .now)
        #expect(await emergency.slots == 1)
        #expect(slots.inUse == 2)
        slots.limit(to: 1)
        #expect(slots.succeed(upTo: 1, of: .email) { _ in true } == nil, "one more than the limit is in use")
        slots.release(2)
        #expect(await general.slots == 1)
        slots.release(1)
        #expect(slots.inUse == 0)
    }

    @Test func `a channel whose slots are taken over is not stalled`() async throws {
        let slots = HandOverSlots([.email: 1, .sms: 1])
        #expect(await slots.acquire(upTo: 1, of: .sms, isEmergency: false) == 1)
        #expect(await slots.acquire(upTo: 1, of: .sms, isEmergency: false) == 0)
        #expect(slots.isStalled(.sms))
        let offer = WireOffer(
            prepared: [Self.prepared(1, "a")], blast: BlastID(high: 1, low: 0), token: LeaseToken(high: 0, low: 0),
            wire: Self.nowhere
        ) { _, _, _ in }
        async let admission = slots.admission(upTo: 1, of: .sms, isEmergency: false, offer: offer)
        try await eventually("it waits") { slots.waiting == 1 }
        let successor = try #require(slots.succeed(upTo: 1, of: .sms) { _ in true })
        slots.admit(successor, .success(.paused), since: .now)
        #expect(await admission.slots == 1)
        #expect(!slots.isStalled(.sms) && slots.inUse == 1)
        slots.release(1, of: .sms)
    }

    @Test func `lanes of one blast take slots over together, and each is told of its own messages`() async throws {
        let slots = HandOverSlots(capacity: 4)
        let begun = Begun()
        @Sendable func offer(_ blast: UInt64, _ numbers: [Int32]) -> WireOffer {
            WireOffer(
                prepared: ArraySlice(numbers.map { Self.prepared($0, "a") }), blast: BlastID(high: blast, low: 0),
                token: LeaseToken(high: 0, low: 0), wire: Self.nowhere
            ) { verdicts, portion, _ in
                #expect(portion.map(\.entry.recipientNumber) == verdicts.map(\.recipientNumber))
                begun.numbers.withLock { $0.append(verdicts.map(\.recipientNumber)) }
            }
        }
        #expect(await slots.acquire(upTo: 4, isEmergency: false) == 4)
        async let first = slots.admission(upTo: 2, of: .email, isEmergency: false, offer: offer(1, [1, 2]))
        try await eventually("one waits") { slots.waiting == 1 }
        async let second = slots.admission(upTo: 3, of: .email, isEmergency: false, offer: offer(1, [3, 4, 5]))
        try await eventually("two wait") { slots.waiting == 2 }
        async let other = slots.admission(upTo: 1, of: .email, isEmergency: false, offer: offer(2, [9]))
        try await eventually("three wait") { slots.waiting == 3 }
        let successor = try #require(slots.succeed(upTo: 4, of: .email) { _ in true })
        #expect(successor.prepared.map(\.entry.recipientNumber) == [1, 2, 3, 4])
        let verdicts = (1...4).map {
            WireVerdict(recipientNumber: $0, attempt: 1, state: .wire, fact: nil, wireAtMicroseconds: 0)
        }
        slots.admit(successor, .success(.decided(verdicts)), since: .now)
        #expect(await first.slots == 2)
        #expect(await second.slots == 2)
        #expect(begun.numbers.withLock { $0 } == [[1, 2], [3, 4]])
        #expect(slots.waiting == 1 && slots.inUse == 4, "another blast's messages go in a statement of their own")
        slots.close()
        #expect(await other.slots == 0)
        slots.release(4)
    }

    /// The only slot's message has its outcome while a lane waits with messages to `names`.
    private static func exchange(
        _ rig: DispatchRig, _ first: BlastID, _ outcome: SettledOutcome, for second: BlastID, _ names: [String],
        _ token: LeaseToken? = nil, isWired: Bool = false, over pool: PostgresPool? = nil
    ) async throws -> (Admission, HandOverSlots) {
        if !isWired { _ = try await rig.verdicts([rig.entry(1, "a")], first) }
        let slots = HandOverSlots(capacity: 1)
        let writer = OutcomeWriter(
            database: pool ?? rig.dispatch, slots: slots, reporter: nil, logger: Logger(label: "test"))
        #expect(await slots.acquire(upTo: 1, isEmergency: false) == 1)
        let offer = WireOffer(
            prepared: ArraySlice(names.enumerated().map { prepared(Int32($0.offset + 1), $0.element) }), blast: second,
            token: token ?? rig.lease,
            wire: Wire(database: rig.dispatch, leaseMargin: .seconds(1), guardFreshness: .seconds(10))
        ) { _, _, _ in }
        async let admission = slots.admission(upTo: names.count, of: .email, isEmergency: false, offer: offer)
        try await eventually("the lane waits") { slots.waiting == 1 }
        let delivery = DeliveryID(blast: first, recipientNumber: 1)
        await writer.settle(outcome.settlement(delivery, 1, rig.lease), of: nil)
        return (await admission, slots)
    }

    private static func verdicts(_ admission: Admission) throws -> [WireVerdict] {
        guard case .decided(let verdicts) = try admission.wired?.get() else {
            throw TestKitError("WIRE decided nothing: \(admission)")
        }
        return verdicts
    }

    private final class Begun: Sendable {
        let numbers = Mutex<[[Int32]]>([])
    }

    private static let nowhere = Wire(
        database: PostgresPool(
            PostgresConfiguration(
                host: "127.0.0.1", port: 1, database: "none", user: "none", password: "", applicationName: "none"),
            size: 1),
        leaseMargin: .zero, guardFreshness: .zero)

    private static func prepared(_ number: Int32, _ name: String) -> Prepared {
        let message = ComposedMessage(
            envelope: SMTPEnvelope(sender: "b@bounce.example", recipient: "\(name)@school.example"), octets: [])
        return Prepared(
            Composition(contentHash: DispatchRig.content, result: .success(message)),
            recipient: Recipient(
                number: number, address: name, addressHash: DispatchRig.hash(name), name: nil, personReference: nil,
                school: nil, fields: "{}"),
            attempt: 1, chunk: 1, deferrals: 0, isResend: false)
    }
}
