import Delivery

/// The page "Why this status" of one recipient.
struct DeliveryView: Sendable {
    let document: BlastDocument
    let history: DeliveryHistory
    let reading: StatusReading
    let times: LocalTime

    var values: PageValues {
        let recipient = history.recipient
        let shown = reading.shown(for: recipient.facts).fact
        let why = Explanation(document, history, reading)
        let path = "/blasts/\(document.id)/recipients/\(recipient.number)"
        var values: PageValues = [
            "blast": document.id.description, "kind": document.title.kind, "subject": document.title.subject,
            "name": recipient.name ?? "Recipient \(recipient.number)",
            "address": recipient.address.isEmpty ? "No address" : recipient.address,
            "word": why.word, "tone": reading.vocabulary.tone(ofFact: shown).rawValue, "meaning": why.meaning,
            "saidBy": why.deciding.saidBy, "notes": why.notes.map { note -> PageValues in ["note": note] },
            "isOpen": !recipient.facts.isFinal && document.state != .draft && !document.isPast,
            "isPast": document.isPast, "asOf": times.precise(document.asOf), "nowURL": path,
            "timeline": history.timeline.map(record), "hasAttempts": !history.attempts.isEmpty,
            "attempts": history.attempts.map(attempt), "hasHits": !history.hits.isEmpty, "hits": history.hits.map(hit),
        ]
        values["caveat"] = why.caveat
        values["advice"] = why.advice
        values["codeMeaning"] = why.codeMeaning
        values["said"] = why.deciding.said
        values["saidAt"] = why.deciding.at.map { times.values($0, precise: true) }
        values["lateBounce"] = why.lateBounce.flatMap { bounce -> PageValues? in
            guard let at = bounce.at else { return nil }
            var values = times.values(at, precise: true)
            values["bounceSaid"] = bounce.said
            return values
        }
        let detail = [recipient.personRef, recipient.school].compactMap(\.self).filter { !$0.isEmpty }
        if !detail.isEmpty { values["detail"] = detail.joined(separator: ", ") }
        if let decision = history.decision, let blast = decision.originalBlast, let number = decision.originalRecipient
        {
            values["original"] = "/blasts/\(blast)/recipients/\(number)"
        }
        if history.timeline.isEmpty {
            var first = times.values(document.createdAt)
            first["tone"] = PlainWords.Tone.waiting.rawValue
            first["event"] = DeliveryFact.pending.plainWords.event
            values["timeline"] = [first]
        }
        return values
    }

    private func record(_ record: DeliveryHistory.Record) -> PageValues {
        var values = times.values(record.occurredAt, precise: true)
        if let fact = record.fact {
            values["event"] = fact.plainWords.event
            values["tone"] = fact.plainWords.tone.rawValue
        } else {
            values["event"] = record.response.map { "The answer is now “\($0)”." } ?? "Another try was reported."
            values["tone"] = PlainWords.Tone.waiting.rawValue
        }
        if let evidence = record.evidence, !evidence.isEmpty {
            values["evidence"] = evidence
            values["source"] = record.source.contains("guard") ? "The reason:" : "What was reported:"
        }
        if record.recordedAt - record.occurredAt > 60_000_000 { values["late"] = times.precise(record.recordedAt) }
        return values
    }

    private func attempt(_ attempt: DeliveryHistory.Attempt) -> PageValues {
        var values = times.values(attempt.startedAt, precise: true)
        values["number"] = String(attempt.number)
        values["outcome"] = Self.outcomes[attempt.state] ?? attempt.state
        values["reply"] = attempt.reply ?? "None"
        values["next"] = attempt.nextAt.map { times.text($0) }
        return values
    }

    private static let outcomes = [
        "wire": "Being handed over", "accepted": "Accepted", "rejected": "Refused for good",
        "deferred": "Refused for now", "in_doubt": "No answer; waiting for news",
        "resolved_sent": "Sent, as was learned later", "resolved_not_sent": "Not sent, as was learned later",
        "unknown": "No answer; given up", "resend": "No answer; to be sent again", "stopped": "Stopped before sending",
        "requeued": "Put back before sending",
    ]

    private func hit(_ hit: DeliveryHistory.Hit) -> PageValues {
        var values = times.values(hit.at, precise: true)
        let isMachine = hit.fact == .machineOpen || hit.fact == .machineClick
        let who = hit.fact == nil ? "still being judged" : isMachine ? "by a program" : "by a person"
        values["what"] = (hit.kind == "click" ? "a link was followed, " : "the message was opened, ") + who
        if hit.kind == "click" { values["url"] = hit.url }
        return values
    }
}
