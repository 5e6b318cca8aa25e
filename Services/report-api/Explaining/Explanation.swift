import Delivery
import Mail

/// Why a delivery has the status it has: the deciding fact, who said it, when, in whose words, and what to do.
struct Explanation: Sendable {
    /// A fact of the delivery and what is known about it.
    struct Statement: Sendable {
        let fact: DeliveryFact
        let witness: Witness
        /// Who said it, in words.
        let saidBy: String
        /// When it happened; nil when nobody recorded it.
        let at: Int64?
        /// When it became known.
        let recordedAt: Int64?
        let eventID: String?
        /// What was said: a server's reply, a provider's code, or the reason that we gave.
        let said: String?
        let code: ReportedCode?
    }

    let word: String
    let deciding: Statement
    let meaning: String
    let caveat: String?
    let advice: String?
    /// What a server's code says.
    let codeMeaning: String?
    /// A delivery that came back later, and which of the two the district lets show.
    let lateBounce: Statement?
    /// News above the shown status that this vocabulary has no word for, and a choice of the district that mattered.
    let notes: [String]

    init(_ document: BlastDocument, _ history: DeliveryHistory, _ reading: StatusReading) {
        let facts = history.recipient.facts
        let shown = reading.shown(for: facts)
        let words = shown.fact.plainWords
        word = reading.word(for: facts)
        deciding = Statement(shown.cause, document, history)
        meaning = words.meaning
        caveat = words.caveat
        let code = Self.troubles.contains(shown.cause) ? deciding.code?.words : nil
        codeMeaning = code?.meaning
        advice = code?.advice ?? words.advice
        lateBounce =
            facts.isLateBounce
            ? Statement(facts.contains(.bouncedInvalid) ? .bouncedInvalid : .bounced, document, history) : nil
        var notes: [String] = []
        if facts.isLateBounce { notes.append(Self.lateBounceNote(shown, reading)) }
        if shown.cause == .machineOpen {
            notes.append("A program opened it, perhaps nobody else: this report counts such openings too.")
        } else if facts.contains(.machineOpen), !facts.contains(.opened) {
            notes.append("A program opened the message, which this report does not count as opened.")
        }
        for fact in facts.facts where fact.rawValue > shown.fact.rawValue && !reading.vocabulary.mask.contains(fact) {
            if DeliveryFacts.canonicalMask.contains(fact) { notes.append("Besides: \(fact.plainWords.event)") }
        }
        if facts.contains(.unconfirmed), !facts.intersects(Self.news) {
            notes.append(DeliveryFact.unconfirmed.plainWords.event)
        }
        self.notes = notes
    }

    /// News after a hand-over: with any, the end of waiting for some says nothing.
    private static let news = DeliveryFacts(
        .bounced, .bouncedInvalid, .delivered, .opened, .clicked, .acknowledged, .responded, .optedOut, .complained)

    /// Facts of which a server's code tells the cause.
    private static let troubles = DeliveryFacts(.deferred, .delayed, .notSent, .expired, .bounced, .bouncedInvalid)

    private static func lateBounceNote(_ shown: StatusReading.Shown, _ reading: StatusReading) -> String {
        let both = "The mail server confirmed the delivery and returned the message later."
        let blacklist = "The address goes on the blacklist either way."
        if shown.isLateBounce { return "\(both) This report shows the return. \(blacklist)" }
        if shown.fact == .delivered { return "\(both) The status stays delivered. \(blacklist)" }
        return "\(both) \(blacklist)"
    }
}

extension Explanation.Statement {
    /// - Parameter fact: one of the delivery's.
    init(_ fact: DeliveryFact, _ document: BlastDocument, _ history: DeliveryHistory) {
        let record = history.timeline.first { $0.fact == fact }
        let decision = history.decision.flatMap { $0.fact == fact ? $0 : nil }
        let domain = history.recipient.address.split(separator: "@").last.flatMap { part in
            history.recipient.address.contains("@") ? String(part) : nil
        }
        self.fact = fact
        witness = Witness(fact, record)
        saidBy = witness.words(fact, domain: domain)
        at = record?.occurredAt ?? decision?.decidedAt ?? (fact == .pending ? document.createdAt : nil)
        recordedAt = record?.recordedAt
        eventID = record?.eventID
        let text = [decision?.detail, record?.evidence].compactMap(\.self).first { !$0.isEmpty }
        said = text
        code = decision == nil ? text.flatMap { ReportedCode($0) } : nil
    }
}
