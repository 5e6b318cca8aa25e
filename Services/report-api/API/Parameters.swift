import Delivery
import HTTPTypes
import Hummingbird
import Runtime
import Signing

extension StatusVocabulary {
    /// The vocabulary that a request names, or the district's.
    /// - Throws: `Problem` 400.
    static func asked(_ fields: FormFields, else usual: StatusVocabulary) throws(Problem) -> StatusVocabulary {
        guard let name = fields["vocabulary"] else { return usual }
        guard let vocabulary = named(name) else {
            throw ReportProblems.parameter("vocabulary", "names no vocabulary", accepted: all.map(\.name))
        }
        return vocabulary
    }
}

extension RecipientQuery {
    private static let textMax = 200

    /// What `status`, `q`, `limit` and `cursor` ask for.
    /// - Throws: `Problem` 400.
    init(_ fields: FormFields, _ vocabulary: StatusVocabulary, limits: ClosedRange<Int>) throws(Problem) {
        if let status = fields["status"] {
            guard let filter = StatusFilter(status, vocabulary: vocabulary) else {
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
