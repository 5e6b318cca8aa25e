import Delivery

/// The page "Why this status" of one recipient.
struct DeliveryView: Sendable {
    let document: BlastDocument
    let history: DeliveryHistory
    let vocabulary: StatusVocabulary
    let times: LocalTime

    var values: PageValues {
        let recipient = history.recipient
        let shown = vocabulary.shownFact(for: recipient.facts)
        // The exact status explains more than a product's word, which may stand for several.
        let words = recipient.facts.canonicalStatus.plainWords
        var values: PageValues = [
            "blast": document.id.description, "subject": document.subject,
            "name": recipient.name ?? "Recipient \(recipient.number)",
            "address": recipient.address.isEmpty ? "No e-mail address" : recipient.address,
            "word": vocabulary.word(for: recipient.facts), "tone": vocabulary.tone(ofFact: shown).rawValue,
            "meaning": words.meaning, "lateBounce": recipient.facts.isLateBounce,
            "isOpen": !recipient.facts.isFinal && document.state != .draft,
            "timeline": history.timeline.map(record), "hasAttempts": !history.attempts.isEmpty,
            "attempts": history.attempts.map(attempt), "hasHits": !history.hits.isEmpty, "hits": history.hits.map(hit),
        ]
        values["caveat"] = words.caveat
        values["advice"] = words.advice
        let detail = [recipient.personRef, recipient.school].compactMap(\.self).filter { !$0.isEmpty }
        if !detail.isEmpty { values["detail"] = detail.joined(separator: ", ") }
        if let decision = history.decision {
            values["cause"] = ["label": "The reason:", "text": decision.detail]
            if let blast = decision.originalBlast, let number = decision.originalRecipient {
                values["original"] = "/blasts/\(blast)/recipients/\(number)"
            }
        } else if let cause = recipient.cause, !cause.isEmpty {
            values["cause"] = ["label": "The newest report says:", "text": cause]
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
        "resolved_sent": "Sent, as was learned later",
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
