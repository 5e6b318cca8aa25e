import Delivery
import Runtime

/// Where a blast stands, in a sentence.
struct StateText: Sendable {
    let title: String
    let text: String
    /// What has to happen before it goes on, after the words “waits for”; nil while it goes on by itself.
    let waitsFor: String?
    /// Milliseconds between two looks at a page of it; 0 when nothing will change by itself.
    let interval: Int
    /// Handed over or decided, in thousandths of the audience, while it is being sent.
    let progress: Int64?
    let style: String

    init(_ document: BlastDocument) {
        let total = document.counts.total
        let done = document.counts.count { $0.intersects(.handedOverMask) }
        let part =
            "\(grouped(done)) of \(counted(total, "recipient", "recipients")) \(done == 1 ? "is" : "are") dealt with."
        progress = document.state == .sending ? (total > 0 ? done * 1000 / total : 0) : nil
        interval = document.state == .settled ? 10_000 : 2000
        let hold = Hold(document)
        waitsFor = hold?.waitsFor
        switch document.state {
        case .draft:
            title = "Draft"
            text = "Not sent yet. \(counted(total, "recipient is", "recipients are")) on the list."
            style = "draft"
        case .awaitingApproval, .scheduled, .sending:
            if document.cancelledAt != nil {
                (title, text, style) = ("Being cancelled", part, "held")
            } else if let hold {
                title = hold.title
                text = document.state == .sending ? "\(part) \(hold.text)" : hold.text
                style = document.state == .scheduled ? "draft" : "held"
            } else {
                (title, text, style) = ("Being sent", part, "sending")
            }
        case .sent:
            title = document.cancelledAt == nil ? "Sent" : "Cancelled"
            text = "Results still arrive: \(counted(document.open, "recipient is", "recipients are")) waiting for news."
            style = "sent"
        case .settled:
            title = document.cancelledAt == nil ? "Finished" : "Cancelled"
            text = "There is a result for every recipient. Opens and clicks may still come in."
            style = "settled"
        }
    }
}

/// Why an ordered blast does not go on, the first thing that would have to end.
private struct Hold {
    let title: String
    let text: String
    let waitsFor: String

    /// Nil when nothing holds the blast, or everything is over.
    init?(_ document: BlastDocument) {
        guard document.cancelledAt == nil else { return nil }
        let waiting = document.waiting
        let times = LocalTime(zone: document.district.timeZone)
        switch document.state {
        case .draft, .sent, .settled: return nil
        case .awaitingApproval:
            let until = waiting.approvalUntil.map { " until \(times.text($0))" } ?? ""
            title = "Waiting for approval"
            text =
                "Ordered by \(waiting.requestedBy ?? "somebody"). Somebody else has to approve it\(until); otherwise "
                + "nothing is sent."
            waitsFor = "somebody else's approval\(until)"
        case .scheduled:
            title = document.pausedAt == nil ? "Scheduled" : "Scheduled and paused"
            let at = waiting.sendAt.map { times.text($0) }
            let to = counted(document.counts.total, "recipient", "recipients")
            if document.pausedAt != nil {
                text = "It is to be sent \(at.map { "on \($0)" } ?? "soon"), to \(to). \(Self.resuming(document.id))"
                waitsFor = "\(at ?? "its time") and somebody to resume it"
            } else if let end = waiting.quietUntil.map({ times.text($0) }) {
                text =
                    "It is to be sent \(at.map { "on \($0)" } ?? "soon"), to \(to). That is in the quiet hours of the "
                    + "district; it waits until \(end)."
                waitsFor = "\(end), the end of the district's quiet hours"
            } else {
                text = "It will be sent \(at.map { "on \($0)" } ?? "soon"), to \(to)."
                waitsFor = at ?? "its time"
            }
        case .sending:
            guard let hold = Self.whileSending(document, times) else { return nil }
            (title, text, waitsFor) = hold
        }
    }

    private static func resuming(_ blast: BlastID) -> String {
        "Nothing more is sent until somebody with a key that may send resumes it: rollcall resume \(blast)."
    }

    private static func whileSending(
        _ document: BlastDocument, _ times: LocalTime
    ) -> (title: String, text: String, waitsFor: String)? {
        let waiting = document.waiting
        let resuming = resuming(document.id)
        if document.pausedAt != nil { return ("Paused", resuming, "somebody to resume it") }
        if waiting.heldAt != nil {
            let reason = waiting.heldReason ?? "Too many of its addresses are bad"
            return ("Stopped by itself", "\(reason). \(resuming)", "somebody to resume it: \(reason)")
        }
        if let reason = waiting.operatorReason {
            return (
                "Paused by the operators", "All sending waits: \(reason)",
                "the operators, who paused all sending: \(reason)"
            )
        }
        if let end = waiting.quietUntil {
            return (
                "Quiet hours", "The others wait until \(times.clock(end)), the end of the district's quiet hours.",
                "\(times.text(end)), the end of the district's quiet hours"
            )
        }
        return waiting.stalledSince.map { since in
            (
                "Held up", "Nothing could be handed over since \(times.text(since)). The operators were told.",
                "the operators: nothing could be handed over since \(times.text(since))"
            )
        }
    }
}
