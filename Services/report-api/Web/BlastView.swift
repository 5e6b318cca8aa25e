import Delivery
import Runtime

/// The page of one blast.
struct BlastView: Sendable {
    let document: BlastDocument
    let reading: StatusReading
    let query: RecipientQuery
    let times: LocalTime
    let state: StateText
    var page = RecipientQuery.Page(rows: [], next: nil)
    private let status: String?
    private let cursor: String?
    /// What the request chose about the whole report: links and forms keep it.
    private let kept: [(name: String, value: String)]

    private static let pageSize = 50

    /// A word that the vocabulary does not have is left out of account: it is from before a change of words.
    init(_ document: BlastDocument, _ fields: FormFields) throws(Problem) {
        self.document = document
        reading = try StatusReading.asked(fields, else: document.district.reading)
        kept = (StatusReading.parameters + [PastTime.parameter]).compactMap { name in fields[name].map { (name, $0) } }
        times = LocalTime(zone: document.district.timeZone)
        state = StateText(document)
        let words = reading
        status = fields["status"].flatMap { StatusFilter($0, reading: words) == nil ? nil : $0 }
        cursor = fields["cursor"]
        var query = RecipientQuery()
        query.filter = status.flatMap { StatusFilter($0, reading: words) }
        query.text = try RecipientQuery.text(fields)
        query.after = try PageCursor.recipient(cursor)
        query.limit = Self.pageSize
        self.query = query
    }

    private func url(_ path: String = "", status: String? = nil, text: String? = nil, cursor: String? = nil) -> String {
        let chosen = kept.map { "\($0.name)=\(FormFields.escape($0.value))" }
        let own = FormFields.encode(["status": status, "q": text, "cursor": cursor])
        let fields = (own.isEmpty ? chosen : chosen + [own]).joined(separator: "&")
        return "/blasts/\(document.id)\(path)" + (fields.isEmpty ? "" : "?\(fields)")
    }

    private var vocabulary: StatusVocabulary { reading.vocabulary }

    /// Milliseconds between two looks; the past does not change.
    var interval: Int { document.isPast ? 0 : state.interval }

    private func tone(_ word: String) -> String {
        vocabulary.facts(shownAs: word).facts.last.map { vocabulary.tone(ofFact: $0).rawValue } ?? ""
    }

    /// The parts that bring themselves up to date.
    var liveValues: PageValues {
        var values: PageValues = [
            "stateTitle": state.title + ".", "stateText": state.text, "stateName": state.title,
            "stateClass": state.style, "interval": interval,
            "total": counted(document.counts.total, "recipient", "recipients"),
            "audience": grouped(document.counts.total), "found": found, "hasRows": !page.rows.isEmpty,
            "rows": page.rows.map(row),
        ]
        values["progress"] = state.progress.map { String($0) }
        let counts = document.counts.words(in: reading).filter { $0.n > 0 }
        values["counts"] = counts.map { word, n -> PageValues in
            [
                "word": word, "key": word.lowercased().replacing(" ", with: "-"), "n": grouped(n), "share": share(n),
                "tone": tone(word), "url": url(status: word),
            ]
        }
        values["bar"] = bar(counts)
        values["notes"] = notes
        values["hasNotes"] = !notes.isEmpty
        values["pager"] = PageRoutes.pager(
            first: cursor == nil ? nil : url(status: status, text: query.text),
            next: page.next.map {
                url(status: status, text: query.text, cursor: PageCursor.encode(recipient: $0))
            })
        return values
    }

    /// Everything else on the page.
    var surroundings: PageValues {
        var values: PageValues = [
            "id": document.id.description, "kind": document.title.kind, "subject": document.title.subject,
            "emergency": document.isEmergency, "when": when,
            "liveURL": url("/live", status: status, text: query.text, cursor: cursor),
            "isFiltered": status != nil || query.text != nil, "clearURL": url(), "q": query.text ?? "",
            "asOf": times.precise(document.asOf),
        ]
        values["from"] = document.sender
        values["school"] = document.school
        values["parent"] = document.parent?.description
        values["children"] = document.children.map { child -> PageValues in ["id": child] }
        values["isPast"] = document.isPast
        values["asOfField"] = times.fieldText(document.asOf)
        values["nowURL"] = "/blasts/\(document.id)" + (keptText.isEmpty ? "" : "?\(keptText)")
        values["kept"] = keptFields()
        values["keptButWords"] = keptFields(except: "vocabulary")
        values["keptButTime"] = keptFields(except: PastTime.parameter)
        values["isFrozen"] = reading.lateBounce == .frozen
        values["countsPrograms"] = reading.opens == .all
        var options = vocabulary.wordsInOrder.map { word -> PageValues in
            ["word": word, "value": word, "selected": status?.lowercased() == word.lowercased()]
        }
        if status == StatusFilter.lateBounceName {
            options.append([
                "word": "Delivered, returned later", "value": StatusFilter.lateBounceName, "selected": true,
            ])
        } else if let fact = status.flatMap(DeliveryFact.init(name:)), vocabulary.facts(shownAs: fact.name).bits == 0 {
            options.append(["word": fact.plainName, "value": fact.name, "selected": true])
        }
        values["words"] = options
        values["vocabularies"] = StatusVocabulary.all.map { item -> PageValues in
            ["name": item.name, "title": item.title, "selected": item.name == vocabulary.name]
        }
        values["help"] = vocabulary.wordsInOrder.map { word -> PageValues in
            [
                "word": word, "tone": tone(word),
                "meanings": vocabulary.facts(shownAs: word).facts.map { fact -> PageValues in
                    let words = fact.plainWords
                    var meaning: PageValues = ["meaning": words.meaning]
                    meaning["caveat"] = words.caveat
                    meaning["advice"] = words.advice
                    return meaning
                },
            ]
        }
        return values
    }

    private var keptText: String {
        kept.filter { $0.name != PastTime.parameter }.map { "\($0.name)=\(FormFields.escape($0.value))" }
            .joined(separator: "&")
    }

    private func keptFields(except name: String? = nil) -> [PageValues] {
        kept.filter { $0.name != name }.map { ["name": $0.name, "value": $0.value] }
    }

    private var sendingLabel: String {
        switch document.state {
        case .awaitingApproval, .scheduled: "Ordered"
        case .draft, .sending, .sent, .settled: document.sendingEndedAt == nil ? "Sending began" : "Sent"
        }
    }

    private var when: [PageValues] {
        func item(_ label: String, _ at: Int64?) -> PageValues? {
            at.map { times.values($0).merging(["label": label]) { $1 } }
        }
        return [
            document.sendRequestedAt == nil
                ? item("Made", document.createdAt)
                : item(sendingLabel, document.sendRequestedAt),
            document.expiresAt.flatMap { at -> PageValues? in
                var values = times.values(at)
                values["label"] = "Kept until"
                values["text"] = times.day(at)
                return values
            },
        ].compactMap(\.self)
    }

    private func row(_ row: RecipientRow) -> PageValues {
        let word = reading.word(for: row.facts)
        let shown = reading.shown(for: row.facts).fact
        var values: PageValues = [
            "number": String(row.number), "name": row.name ?? "Recipient \(row.number)",
            "address": row.address.isEmpty ? "None" : row.address, "word": word,
            "tone": vocabulary.tone(ofFact: shown).rawValue, "attempts": String(row.attempts),
            "lateBounce": row.facts.isLateBounce, "untried": !row.isAttempted,
            "url": url("/recipients/\(row.number)"),
        ]
        // Reasons speak of recipients by their numbers.
        let number = row.name.map { _ in "Recipient \(row.number)" }
        let detail = [number, row.personRef, row.school].compactMap(\.self).filter { !$0.isEmpty }
        if !detail.isEmpty { values["detail"] = detail.joined(separator: ", ") }
        values["response"] = row.response.flatMap { $0.isEmpty ? nil : $0 }
        values["last"] = row.lastAttemptAt.map { times.values($0) }
        switch shown.plainWords.tone {
        case .good, .read: break
        case .waiting, .underway, .excluded, .problem: values["cause"] = row.cause.flatMap { $0.isEmpty ? nil : $0 }
        }
        return values
    }

    private var found: String {
        if page.rows.isEmpty {
            return query.filter == nil && query.text == nil
                ? "There is no recipient on the list yet." : "Nobody on the list matches."
        }
        let shown = Int64(page.rows.count)
        if query.text != nil {
            return page.next == nil && cursor == nil ? "\(grouped(shown)) found." : "\(grouped(shown)) shown."
        }
        let total = query.filter.map { document.counts.count(where: $0.matches) } ?? document.counts.total
        return "\(grouped(shown)) of \(grouped(total)) shown."
    }

    private var notes: [PageValues] {
        let counts = document.counts
        let late = counts.count(where: \.isLateBounce)
        let complaints = counts.count(with: .complained)
        let countsPrograms = reading.opens == .all
        let machines = counts.count {
            $0.contains(.machineOpen) && (!countsPrograms || reading.shown(for: $0).cause == .machineOpen)
        }
        var notes: [PageValues] = []
        if late > 0 {
            notes.append([
                "text": "\(counted(late, "message was", "messages were")) delivered and returned later.",
                "url": url(status: StatusFilter.lateBounceName),
            ])
        }
        if complaints > 0 {
            notes.append([
                "text": "\(counted(complaints, "recipient", "recipients")) marked the message as spam.",
                "url": url(status: DeliveryFact.complained.name),
            ])
        }
        if machines > 0 {
            notes.append([
                "text": "\(counted(machines, "message was", "messages were")) opened by a program"
                    + (countsPrograms
                        ? " and, as far as we know, by nobody else; this counts here." : ", which does not count.")
            ])
        }
        return notes
    }

    private func share(_ n: Int64) -> String {
        let total = document.counts.total
        guard total > 0 else { return "0 %" }
        let tenths = n * 1000 / total
        if tenths == 0, n > 0 { return "< 0.1 %" }
        return tenths % 10 == 0 ? "\(tenths / 10) %" : "\(tenths / 10).\(tenths % 10) %"
    }

    private func bar(_ counts: [(word: String, n: Int64)]) -> [PageValues] {
        let total = document.counts.total
        guard total > 0 else { return [] }
        var before: Int64 = 0
        return counts.map { word, n -> PageValues in
            let x = before * 1000 / total
            before += n
            return ["tone": tone(word), "x": String(x), "width": String(max(2, before * 1000 / total - x))]
        }
    }
}

extension DeliveryFact {
    /// The name for people.
    var plainName: String { StatusVocabulary.canonical.words[self]?.text ?? name }
}
