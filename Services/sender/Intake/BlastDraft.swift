import Contracts
import Delivery
import Mail
import Runtime

/// A blast as a client asks for it, read strictly from JSON.
struct BlastDraft {
    let subject: String
    let html: String?
    let text: String?
    /// Nil of a blast that goes by text message alone, when none was given.
    let from: EmailAddress?
    let fromName: String?
    let replyTo: EmailAddress?
    /// `email`, `sms` or both.
    let channels: [String]
    let category: String
    let blastClass: String
    let school: String?
    let inDoubtPolicy: String
    let dedupeKey: String
    let answers: [String]
    let sendAtMicroseconds: Int64?
    let notAfterMicroseconds: Int64?
    let parent: BlastID?

    /// - Throws: `Problem`: 400 for what is no JSON object, 422 with every faulty member named.
    init(json octets: [UInt8], limits: IntakeLimits, nowMicroseconds: Int64) throws(Problem) {
        try self.init(members: try IntakeProblems.object(octets), limits: limits, nowMicroseconds: nowMicroseconds)
    }

    init(members: [String: JSONValue], limits: IntakeLimits, nowMicroseconds: Int64) throws(Problem) {
        var reader = MemberReader(members)
        channels = reader.texts("channels", count: 1...2, octets: 20) ?? ["email"]
        let hasMail = channels != ["sms"]
        let subject = reader.text("subject", required: hasMail, octets: limits.subjectOctets)
        html = reader.text("html", octets: limits.templateOctets, isOneLine: false)
        text = reader.text("text", octets: limits.templateOctets, isOneLine: false)
        var from = reader.object("from", required: hasMail)
        let address = from?.address("address", required: true)
        fromName = from?.text("name", octets: 200)
        from?.refuseUnknown()
        reader.add(from?.faults ?? [])
        replyTo = reader.address("reply_to")
        category = reader.text("category", octets: 64) ?? "general"
        blastClass = reader.word("class", oneOf: ["general", "emergency"]) ?? "general"
        school = reader.text("school", octets: 200)
        if Set(channels).count < channels.count || !channels.allSatisfy({ Channel(rawValue: $0) != nil }) {
            reader.add("channels", "may have email and sms, each once")
        } else if channels.contains("sms"), !limits.hasSMS {
            reader.add("channels", "has sms, and this sender has no SMS provider (setting sms.account)")
        } else if channels.contains("sms"), text == nil {
            reader.add("text", "is missing; a text message is made of it")
        }
        inDoubtPolicy =
            reader.word("in_doubt_policy", oneOf: ["at_most_once", "at_least_once"])
            ?? (blastClass == "emergency" ? "at_least_once" : "at_most_once")
        dedupeKey = reader.word("dedupe_key", oneOf: ["address", "address+content", "address+person"]) ?? "address"
        answers = reader.texts("answers", count: 0...10, octets: 100) ?? []
        sendAtMicroseconds = reader.sendTime("send_at", nowMicroseconds: nowMicroseconds)
        notAfterMicroseconds = reader.time("not_after")
        if let notAfterMicroseconds, notAfterMicroseconds <= nowMicroseconds {
            reader.add("not_after", "is not in the future")
        } else if let notAfterMicroseconds, let sendAtMicroseconds, notAfterMicroseconds <= sendAtMicroseconds {
            reader.add("not_after", "is not later than send_at")
        }
        let parentText = reader.text("parent_blast_id", octets: 100)
        parent = parentText.flatMap { BlastID($0) }
        if parentText != nil, parent == nil { reader.add("parent_blast_id", "is not a blast's id") }
        reader.refuseUnknown()
        if category.utf8.contains(UInt8(ascii: ";")) {
            reader.add("category", "contains a semicolon, which separates categories in a list")
        }
        Self.checkTemplates(
            &reader, subject: subject, html: html, text: text, links: limits.links, hasAnswers: !answers.isEmpty)
        guard reader.faults.isEmpty else { throw IntakeProblems.members(reader.faults) }
        self.subject = subject ?? Self.title(of: text ?? "")
        self.from = address
    }

    /// What reports call a blast of text messages without a subject: the beginning of its text.
    private static func title(of text: String) -> String {
        let line = text.utf8.split(whereSeparator: { $0 == 0x0A || $0 == 0x0D }).first ?? ""[...].utf8
        let end = line.firstRange(of: "{{".utf8)?.lowerBound ?? line.endIndex
        let words = CellText.trim(Array(line[..<end])[...])
        let title = String(String(decoding: words, as: UTF8.self).prefix(60))
        return title.isEmpty ? "Text message" : title
    }

    private static func checkTemplates(
        _ reader: inout MemberReader, subject: String?, html: String?, text: String?, links: Int, hasAnswers: Bool
    ) {
        var used: Set<String> = []
        for (name, template) in [("subject", subject), ("html", html), ("text", text)] {
            guard let template else { continue }
            do {
                let names = try TemplateTags(template).names
                used.formUnion(names)
                if name == "subject", let link = PersonalLink.allCases.first(where: { names.contains($0.rawValue) }) {
                    reader.add(name, "has {{\(link.rawValue)}}, which belongs into html or text")
                }
            } catch {
                reader.add(name, error.reason, position: error.octet, line: error.line)
            }
        }
        if html == nil, text == nil, !reader.faults.contains(where: { $0.field == "html" || $0.field == "text" }) {
            reader.add("html", "is missing, and so is text; at least one of them is needed")
        }
        if used.contains(PersonalLink.respond.rawValue), !hasAnswers {
            reader.add("answers", "is missing, and a template has {{respond_url}}; say what readers may answer")
        } else if hasAnswers, !used.contains(PersonalLink.respond.rawValue) {
            reader.add("answers", "is given, and no template has {{respond_url}}, so nobody could answer")
        }
        if let html, let value = AnchorScanner.bareValue(inTemplate: Array(html.utf8)) {
            reader.add(
                "html", "has a value in a tag and not in quotation marks, where it could add to the tag",
                position: value + 1, line: html.utf8.prefix(value).count { $0 == 0x0A } + 1)
        }
        if let html, TrackedLinks.find(inTemplate: html).count > links {
            reader.add("html", "has more than \(links) different links")
        }
    }
}
