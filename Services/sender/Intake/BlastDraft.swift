import Contracts
import Delivery
import Mail
import Runtime

/// A blast as a client asks for it, read strictly from JSON.
struct BlastDraft {
    let subject: String
    let html: String?
    let text: String?
    let from: EmailAddress
    let fromName: String?
    let replyTo: EmailAddress?
    let category: String
    let blastClass: String
    let school: String?
    let inDoubtPolicy: String
    let dedupeAddress: Bool
    let notAfterMicroseconds: Int64?
    let parent: BlastID?

    /// - Throws: `Problem`: 400 for what is no JSON object, 422 with every faulty member named.
    init(json octets: [UInt8], limits: IntakeLimits, nowMicroseconds: Int64) throws(Problem) {
        var reader = MemberReader(try IntakeProblems.object(octets))
        let subject = reader.text("subject", required: true, octets: limits.subjectOctets)
        html = reader.text("html", octets: limits.templateOctets, isOneLine: false)
        text = reader.text("text", octets: limits.templateOctets, isOneLine: false)
        var from = reader.object("from", required: true)
        let address = from?.address("address", required: true)
        fromName = from?.text("name", octets: 200)
        from?.refuseUnknown()
        reader.add(from?.faults ?? [])
        replyTo = reader.address("reply_to")
        category = reader.text("category", octets: 64) ?? "general"
        blastClass = reader.word("class", oneOf: ["general", "emergency"]) ?? "general"
        school = reader.text("school", octets: 200)
        if reader.word("channel", oneOf: ["email", "sms"]) == "sms" {
            reader.add("channel", "is sms, which cannot be sent yet; use email")
        }
        inDoubtPolicy =
            reader.word("in_doubt_policy", oneOf: ["at_most_once", "at_least_once"])
            ?? (blastClass == "emergency" ? "at_least_once" : "at_most_once")
        dedupeAddress = reader.truth("dedupe_address") ?? true
        notAfterMicroseconds = reader.time("not_after")
        if let notAfterMicroseconds, notAfterMicroseconds <= nowMicroseconds {
            reader.add("not_after", "is not in the future")
        }
        let parentText = reader.text("parent_blast_id", octets: 100)
        parent = parentText.flatMap { BlastID($0) }
        if parentText != nil, parent == nil { reader.add("parent_blast_id", "is not a blast's id") }
        reader.refuseUnknown()
        if category.utf8.contains(UInt8(ascii: ";")) {
            reader.add("category", "contains a semicolon, which separates categories in a list")
        }
        Self.checkTemplates(&reader, subject: subject, html: html, text: text, links: limits.links)
        guard reader.faults.isEmpty, let subject, let address else {
            throw IntakeProblems.members(reader.faults)
        }
        self.subject = subject
        self.from = address
    }

    private static func checkTemplates(
        _ reader: inout MemberReader, subject: String?, html: String?, text: String?, links: Int
    ) {
        for (name, template) in [("subject", subject), ("html", html), ("text", text)] {
            guard let template else { continue }
            do {
                _ = try TemplateTags(template)
            } catch {
                reader.add(name, error.reason, position: error.octet, line: error.line)
            }
        }
        if html == nil, text == nil, !reader.faults.contains(where: { $0.field == "html" || $0.field == "text" }) {
            reader.add("html", "is missing, and so is text; at least one of them is needed")
        }
        if let html, TrackedLinks.find(inTemplate: html).count > links {
            reader.add("html", "has more than \(links) different links")
        }
    }
}
