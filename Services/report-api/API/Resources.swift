import Contracts
import Delivery

// The JSON documents. Members that do not apply are left out.

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
struct BlastResource: Encodable {
    let blast_id: String
    let title: String
    let subject: String
    let state: String
    /// What has to happen before it goes on, in plain words and the district's time.
    let waits_for: String?
    let audience: Int64
    let `class`: String
    let category: String
    let school: String?
    let from: String
    let created_by: String
    let created_at: String
    let send_at: String?
    let send_requested_at: String?
    let requested_by: String?
    /// Until when a second person has to approve.
    let approval_until: String?
    let paused_at: String?
    /// Stopped by itself, and why, until somebody resumes it.
    let held_at: String?
    let held_reason: String?
    /// Quiet hours of the district: it waits until then, or will when its time has come.
    let quiet_until: String?
    /// Why the operators paused all sending.
    let operator_pause: String?
    let cancelled_at: String?
    let sending_ended_at: String?
    let expires_at: String?
    let parent_blast_id: String?
    let follow_ups: [String]
    let as_of: String

    init(_ document: BlastDocument) {
        blast_id = document.id.description
        title = document.title.text
        subject = document.title.subject
        state = document.state.rawValue
        waits_for = StateText(document).waitsFor
        audience = document.audience
        `class` = document.isEmergency ? "emergency" : "general"
        category = document.category
        school = document.school
        from = document.fromAddress
        created_by = document.createdBy
        created_at = Timestamp.string(microseconds: document.createdAt)
        send_at = rfc3339(document.waiting.sendAt)
        send_requested_at = rfc3339(document.sendRequestedAt)
        requested_by = document.waiting.requestedBy
        approval_until = rfc3339(document.waiting.approvalUntil)
        paused_at = rfc3339(document.pausedAt)
        held_at = rfc3339(document.waiting.heldAt)
        held_reason = document.waiting.heldReason
        quiet_until = rfc3339(document.waiting.quietUntil)
        operator_pause = document.waiting.operatorReason
        cancelled_at = rfc3339(document.cancelledAt)
        sending_ended_at = rfc3339(document.sendingEndedAt)
        expires_at = rfc3339(document.expiresAt)
        parent_blast_id = document.parent?.description
        follow_ups = document.children
        as_of = Timestamp.string(microseconds: document.asOf)
    }
}

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
struct ListResource<Item: Encodable>: Encodable {
    let items: [Item]
    /// Where the next page begins; left out on the last.
    let next_cursor: String?
}

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
struct CountsResource: Encodable {
    struct Word: Encodable {
        let word: String
        let n: Int64
        /// The facts that show as this word.
        let facts: [String]
    }

    let blast_id: String
    let vocabulary: String
    let state: String
    let waits_for: String?
    /// The sum of all `n`.
    let audience: Int64
    /// How the words were found: `frozen` or `shown`, `human` or `all`.
    let late_bounce: String
    let opens: String
    let words: [Word]
    let open: Int64
    let late_bounces: Int64
    let complaints: Int64
    let opt_outs: Int64
    let machine_opens: Int64
    let machine_clicks: Int64
    let autoresponses: Int64
    let as_of: String

    init(_ document: BlastDocument, _ reading: StatusReading) {
        let counts = document.counts
        blast_id = document.id.description
        vocabulary = reading.vocabulary.name
        late_bounce = reading.lateBounce.rawValue
        opens = reading.opens.rawValue
        state = document.state.rawValue
        waits_for = StateText(document).waitsFor
        audience = counts.total
        words = counts.words(in: reading).map { word, n in
            Word(word: word, n: n, facts: reading.vocabulary.facts(shownAs: word).names)
        }
        open = document.open
        late_bounces = counts.count(where: \.isLateBounce)
        complaints = counts.count(with: .complained)
        opt_outs = counts.count(with: .optedOut)
        machine_opens = counts.count(with: .machineOpen)
        machine_clicks = counts.count(with: .machineClick)
        autoresponses = counts.count(with: .autoresponded)
        as_of = Timestamp.string(microseconds: document.asOf)
    }
}

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
struct RecipientResource: Encodable {
    let recipient_no: Int32
    let name: String?
    let address: String
    let person_ref: String?
    let school: String?
    /// The word of the asked reading; `canonical_status` is the same in every reading.
    let status: String
    let canonical_status: String
    let facts: [String]
    let attempted: Bool
    let attempts: Int32
    let last_attempt_at: String?
    let response: String?
    let changed_at: String?
    let cause: String?
    let late_bounce: Bool
    let final: Bool

    init(_ row: RecipientRow, _ reading: StatusReading) {
        recipient_no = row.number
        name = row.name
        address = row.address
        person_ref = row.personRef
        school = row.school
        status = reading.word(for: row.facts)
        canonical_status = row.facts.canonicalStatus.name
        facts = row.facts.names
        attempted = row.isAttempted
        attempts = row.attempts
        last_attempt_at = rfc3339(row.lastAttemptAt)
        response = row.response
        changed_at = rfc3339(row.changedAt)
        cause = row.cause
        late_bounce = row.facts.isLateBounce
        `final` = row.facts.isFinal
    }
}

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
struct DeliveryResource: Encodable {
    struct Record: Encodable {
        let seq: Int64
        let fact: String?
        let facts: [String]
        let source: String
        let event_id: String
        let occurred_at: String
        let recorded_at: String
        let attempts: Int32
        let response: String?
        let evidence: String?
    }

    struct Attempt: Encodable {
        let attempt_no: Int32
        let state: String
        let fact: String?
        let provider: String?
        let smtp_code: Int32?
        let enhanced_code: String?
        let reply: String?
        let started_at: String
        let settled_at: String?
        let next_at: String?
    }

    struct Decision: Encodable {
        let fact: String?
        let rule: String
        let detail: String
        let original_blast_id: String?
        let original_recipient_no: Int32?
        let decided_at: String
    }

    struct Hit: Encodable {
        let kind: String
        let link_no: Int32?
        let url: String?
        let at: String
        let user_agent: String?
        let fact: String?
    }

    let blast_id: String
    let as_of: String
    let recipient: RecipientResource
    let explanation: ExplanationResource
    let timeline: [Record]
    let attempts: [Attempt]
    let decision: Decision?
    let hits: [Hit]

    init(_ document: BlastDocument, _ history: DeliveryHistory, _ reading: StatusReading) {
        blast_id = document.id.description
        as_of = Timestamp.string(microseconds: document.asOf)
        recipient = RecipientResource(history.recipient, reading)
        explanation = ExplanationResource(Explanation(document, history, reading))
        timeline = history.timeline.map { record in
            Record(
                seq: record.seq, fact: record.fact?.name, facts: record.facts.names, source: record.source,
                event_id: record.eventID, occurred_at: Timestamp.string(microseconds: record.occurredAt),
                recorded_at: Timestamp.string(microseconds: record.recordedAt), attempts: record.attempts,
                response: record.response, evidence: record.evidence)
        }
        attempts = history.attempts.map { attempt in
            Attempt(
                attempt_no: attempt.number, state: attempt.state, fact: attempt.fact?.name,
                provider: attempt.provider, smtp_code: attempt.smtpCode, enhanced_code: attempt.enhancedCode,
                reply: attempt.reply, started_at: Timestamp.string(microseconds: attempt.startedAt),
                settled_at: rfc3339(attempt.settledAt), next_at: rfc3339(attempt.nextAt))
        }
        decision = history.decision.map { decision in
            Decision(
                fact: decision.fact?.name, rule: decision.rule, detail: decision.detail,
                original_blast_id: decision.originalBlast?.description,
                original_recipient_no: decision.originalRecipient,
                decided_at: Timestamp.string(microseconds: decision.decidedAt))
        }
        hits = history.hits.map { hit in
            Hit(
                kind: hit.kind, link_no: hit.link, url: hit.url, at: Timestamp.string(microseconds: hit.at),
                user_agent: hit.userAgent, fact: hit.fact?.name)
        }
    }
}

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
struct BlacklistResource: Encodable {
    let address: String
    let reason: String
    let active: Bool
    let causes: Int32
    let first_seen: String
    let last_seen: String
    let evidence: String?
    let reset_at: String?
    let reset_by: String?
    let reset_reason: String?

    init(_ entry: BlacklistEntry) {
        address = entry.address
        reason = entry.reason
        active = entry.isActive
        causes = entry.causes
        first_seen = Timestamp.string(microseconds: entry.firstSeen)
        last_seen = Timestamp.string(microseconds: entry.lastSeen)
        evidence = entry.evidence
        reset_at = rfc3339(entry.resetAt)
        reset_by = entry.resetBy
        reset_reason = entry.resetReason
    }
}

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
struct CommandResource: Encodable {
    let command_id: String
    let kind: String
    let state: String
    let outcome: String?
    let actor: String
    let reason: String
    let created_at: String
    let done_at: String?

    init(_ command: CommandState) {
        command_id = command.id.description
        kind = command.kind
        state = command.doneAt == nil ? "pending" : "done"
        outcome = command.outcome
        actor = command.actor
        reason = command.reason
        created_at = Timestamp.string(microseconds: command.createdAt)
        done_at = rfc3339(command.doneAt)
    }
}

func rfc3339(_ microseconds: Int64?) -> String? { microseconds.map { Timestamp.string(microseconds: $0) } }
