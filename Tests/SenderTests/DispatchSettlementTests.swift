import Contracts
import Delivery
import Mail
import SMTP
import TestKit
import Testing

@testable import sender

@Suite("Settlement")
struct DispatchSettlementTests {
    private let delivery = DeliveryID(blast: BlastID(high: 1, low: 2), recipientNumber: 3)
    private let schedule = RetrySchedule(delays: [.seconds(60), .seconds(300)])

    private func settle(_ outcome: SMTPOutcome, deferrals: Int = 0) -> Settlement {
        Settlement(outcome, delivery: delivery, attempt: 1, deferrals: deferrals, schedule: schedule)
    }

    @Test func `acceptance is sent, with the server's words`() {
        let settlement = settle(.accepted(SMTPReply(code: 250, lines: ["2.0.0 Ok: queued as X"])))
        #expect(settlement.state == .accepted)
        #expect(settlement.fact == .sent)
        #expect(settlement.code == 250)
        #expect(settlement.enhancedCode == "2.0.0")
        #expect(settlement.reply == "250 2.0.0 Ok: queued as X")
        #expect(settlement.retryAfter == nil)
    }

    @Test(arguments: [
        (550, "5.1.1 No such user", SMTPStage.recipient, DeliveryFact.bouncedInvalid),
        (550, "5.7.1 Blocked", .recipient, .bounced), (554, "5.6.0 Content", .dot, .bounced),
        (550, "5.1.8 Your address", .mail, .notSent),
    ])
    func `a refusal for good`(code: Int, text: String, stage: SMTPStage, fact: DeliveryFact) {
        let settlement = settle(.rejected(SMTPReply(code: code, lines: [text]), stage: stage))
        #expect(settlement.state == .rejected)
        #expect(settlement.fact == fact)
    }

    @Test func `a refusal made by our own side is not the recipient's fault`() {
        let reply = SMTPReply(code: 553, lines: ["5.6.7 no SMTPUTF8"], isLocal: true)
        #expect(settle(.rejected(reply, stage: .recipient)).fact == .notSent)
    }

    @Test(arguments: [SMTPStage.connect, .greeting, .hello])
    func `trouble of the relay puts the message back without a fact`(stage: SMTPStage) {
        let outcomes: [SMTPOutcome] = [
            .rejected(SMTPReply(code: 554, lines: ["no service"]), stage: stage),
            .deferred(SMTPReply(code: 421, lines: ["busy"]), stage: stage, reason: "busy"),
            .deferred(nil, stage: stage, reason: "refused"),
        ]
        for outcome in outcomes {
            let settlement = settle(outcome, deferrals: 9)
            #expect(settlement.state == .requeued)
            #expect(settlement.fact == nil)
            #expect(settlement.retryAfter == Settlement.requeuePause)
            #expect(outcome.relayTrouble != nil)
        }
    }

    @Test(arguments: [SMTPStage.mail, .recipient, .data, .body])
    func `a connection or a deadline that ends within the message is a deferral, so that it is not tried for ever`(
        stage: SMTPStage
    ) {
        let lost = SMTPOutcome.deferred(nil, stage: stage, reason: "the deadline passed")
        #expect(settle(lost).fact == .deferred)
        #expect(settle(lost, deferrals: 2).fact == .expired)
    }

    @Test func `deferrals follow the schedule until it is used up, then the delivery has expired`() throws {
        let outcome = SMTPOutcome.deferred(SMTPReply(code: 452, lines: ["4.2.2 Full"]), stage: .recipient, reason: "")
        let first = try #require(settle(outcome).retryAfter)
        #expect((.seconds(60) ... .seconds(66)).contains(first))
        let second = try #require(settle(outcome, deferrals: 1).retryAfter)
        #expect((.seconds(300) ... .seconds(330)).contains(second))
        let last = settle(outcome, deferrals: 2)
        #expect(last.state == .deferred)
        #expect(last.fact == .expired)
        #expect(last.retryAfter == nil)
    }

    @Test func `what was refused together comes back spread over a tenth of its pause, never early`() {
        var random = SeededGenerator(seed: 5)
        let pauses = (0..<1000).compactMap { _ in schedule.pause(afterDeferrals: 1, using: &random) }
        #expect(pauses.count == 1000 && Set(pauses).count > 900)
        #expect(pauses.allSatisfy { (.seconds(300) ... .seconds(330)).contains($0) })
        #expect(pauses.contains { $0 < .seconds(303) } && pauses.contains { $0 > .seconds(327) })
        #expect(schedule.pause(afterDeferrals: 2, using: &random) == nil)
    }

    @Test func `an unanswered final dot is doubt`() {
        let settlement = settle(.inDoubt(reason: "no reply within 600 s"))
        #expect(settlement.state == .inDoubt)
        #expect(settlement.fact == .inDoubt)
        #expect(settlement.reply == "no reply within 600 s")
    }

    @Test func `a reply is kept to what the database and an event can hold`() {
        let reply = settle(.inDoubt(reason: "\0" + String(repeating: "é", count: 400))).reply
        #expect(reply.utf8.count == 512)
        #expect(reply.unicodeScalars.allSatisfy { $0 == "é" })
    }

    @Test
    func `an attempt states its fact with its number; an expired one states the deferral too; a stopped one is none`() {
        func events(_ state: AttemptState, _ fact: DeliveryFact) -> [String] {
            AttemptFact(
                delivery: delivery, attempt: 2, district: DistrictID(7), state: state, fact: fact, reply: "r",
                wireAtMicroseconds: 10, settledAtMicroseconds: 20
            ).events.map { event in
                let number = event.id.split(separator: "/").suffix(2).joined(separator: "/")
                return
                    "\(number) \(event.fact.name) \(event.attempt.map { "\($0.number)@\($0.atMicroseconds)" } ?? "-")"
            }
        }
        #expect(events(.accepted, .sent) == ["2/20 sent 2@10"])
        #expect(events(.deferred, .expired) == ["2/4 deferred 2@10", "2/25 expired 2@10"])
        #expect(events(.stopped, .skipped) == ["2/9 skipped -"])
    }
}
