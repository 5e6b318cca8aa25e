import Delivery
import HTTPTypes
import Hummingbird
import Runtime
import Signing

extension StatusReading {
    /// The parameters that choose a reading for one request.
    static let parameters = ["vocabulary", "late_bounce", "opens"]

    /// The district's reading, with what a request asks for instead.
    /// - Throws: `Problem` 400.
    static func asked(_ fields: FormFields, else usual: StatusReading) throws(Problem) -> StatusReading {
        var vocabulary = usual.vocabulary
        if let name = fields["vocabulary"] {
            guard let named = StatusVocabulary.named(name) else {
                throw ReportProblems.parameter(
                    "vocabulary", "names no vocabulary", accepted: StatusVocabulary.all.map(\.name))
            }
            vocabulary = named
        }
        return StatusReading(
            vocabulary, lateBounce: try choice("late_bounce", fields, else: usual.lateBounce),
            opens: try choice("opens", fields, else: usual.opens))
    }

    private static func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ name: String, _ fields: FormFields, else usual: Choice
    ) throws(Problem) -> Choice {
        guard let text = fields[name] else { return usual }
        guard let choice = Choice(rawValue: text) else {
            throw ReportProblems.parameter(name, "is not known", accepted: Choice.allCases.map(\.rawValue))
        }
        return choice
    }
}

extension RecipientQuery {
    private static let textMax = 200

    /// What `status`, `q`, `limit` and `cursor` ask for.
    /// - Throws: `Problem` 400.
    init(_ fields: FormFields, _ reading: StatusReading, limits: ClosedRange<Int>) throws(Problem) {
        if let status = fields["status"] {
            let vocabulary = reading.vocabulary
            guard let filter = StatusFilter(status, reading: reading) else {
                throw ReportProblems.parameter(
                    "status", "is neither a word of the vocabulary \(vocabulary.name) nor the name of a status",
                    accepted: vocabulary.wordsInOrder + DeliveryFacts.canonicalMask.names)
            }
            self.filter = filter
        }
        text = try Self.text(fields)
        after = try PageCursor.recipient(fields["cursor"])
        limit = try fields.number("limit", default: 50, in: limits)
    }

    static func text(_ fields: FormFields) throws(Problem) -> String? {
        guard let text = fields["q"]?.trimmed, !text.isEmpty else { return nil }
        guard text.unicodeScalars.count <= textMax else {
            throw ReportProblems.parameter("q", "has more than \(textMax) characters")
        }
        return text
    }
}

extension BlacklistQuery {
    /// What `q`, `state`, `limit` and `cursor` ask for.
    /// - Throws: `Problem` 400.
    init(_ fields: FormFields, limits: ClosedRange<Int>) throws(Problem) {
        switch fields["state"] ?? "active" {
        case "active": includesReset = false
        case "all": includesReset = true
        default: throw ReportProblems.parameter("state", "is not known", accepted: ["active", "all"])
        }
        text = try RecipientQuery.text(fields)
        after = try PageCursor.address(fields["cursor"])
        limit = try fields.number("limit", default: 50, in: limits)
    }
}

/// Names one state of a thing, so that a client that has it is told so instead of sent it again. Weak: the answer also
/// says when it was read.
struct EntityTag: Sendable {
    let text: String

    init(of state: String) {
        text = "W/\"\(Base64URL.encode(Array(SHA256Digest.of(Array(state.utf8)).prefix(18))))\""
    }

    func isKnown(to request: Request) -> Bool {
        request.headers[values: .ifNoneMatch].contains { header in
            header.split(separator: ",").contains { item in
                let tag = item.filter { $0 != " " }
                return tag == "*" || tag == text || "W/\(tag)" == text
            }
        }
    }

    var notModified: Response { Response(status: .notModified, headers: [.eTag: text]) }
}
