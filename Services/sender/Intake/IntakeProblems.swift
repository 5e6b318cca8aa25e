import Contracts
import HTTPTypes
import Inflate
import Runtime

/// The refusals of intake, each with its own type.
enum IntakeProblems {
    /// One answer for a blast that does not exist, is another district's, or has an id that is none.
    static let noSuchBlast = Problem(
        "no-such-blast", title: "No such blast", status: .notFound,
        detail: "There is no blast with this id. The id is the member blast_id of the answer that made it.")

    static let unauthorized = Problem(
        "unauthorized", title: "A valid API key is needed", status: .unauthorized,
        detail: "Send the header Authorization: Bearer followed by an API key of your district.",
        headers: [.wwwAuthenticate: "Bearer realm=\"rollcall\""])

    static func forbidden(needed: String) -> Problem {
        Problem(
            "forbidden", title: "The key does not allow this", status: .forbidden,
            detail: "This request needs a key with the scope \(needed).", members: ["scope": .text(needed)])
    }

    static func unsupported(_ detail: String, accepted: [String]) -> Problem {
        Problem(
            "unsupported-media-type", title: "Unsupported media type", status: .unsupportedMediaType, detail: detail,
            members: ["accepted": .texts(accepted)])
    }

    static func tooLarge(octets limit: Int) -> Problem {
        Problem(
            "too-large", title: "Content too large", status: .contentTooLarge,
            detail: "The body has more than \(limit) octets, which is the most this route accepts.",
            members: ["limit": .number(limit)])
    }

    static func conflict(_ slug: String, _ title: String, _ detail: String) -> Problem {
        Problem(slug, title: title, status: .conflict, detail: detail)
    }

    static func noSMSProvider(_ effect: String) -> Problem {
        conflict(
            "no-sms-provider", "Text messages cannot be sent",
            "This goes by SMS, and this sender has no SMS provider (setting sms.account). \(effect)")
    }

    /// The object of a JSON body.
    static func object(_ octets: [UInt8]) throws(Problem) -> [String: JSONValue] {
        let value: JSONValue
        do {
            value = try StrictJSON.decode(JSONValue.self, from: octets)
        } catch {
            throw Problem(
                "malformed-json", title: "The body cannot be read", status: .badRequest,
                detail: "The body is no acceptable JSON: \(error.reason).")
        }
        guard case .object(let members) = value else {
            throw Problem(
                "malformed-json", title: "The body cannot be read", status: .badRequest,
                detail: "The body is JSON, but not an object.")
        }
        return members
    }

    static func members(_ faults: [MemberFault]) -> Problem {
        var members: [String: Problem.Member] = [
            "errors": .objects(faults.prefix(50).map { errorObject($0) })
        ]
        if let first = faults.first { members.merge(errorObject(first)) { kept, _ in kept } }
        members["reason"] = nil
        let detail = faults.prefix(5).map { "\($0.field): \($0.reason)" }.joined(separator: " ")
        return Problem(
            "invalid-members", title: "Members of the request are not acceptable", status: .unprocessableContent,
            detail: detail, members: members)
    }

    private static func errorObject(_ fault: MemberFault) -> [String: Problem.Member] {
        var object: [String: Problem.Member] = ["field": .text(fault.field), "reason": .text(fault.reason)]
        if let position = fault.position { object["position"] = .number(position) }
        if let line = fault.line { object["line"] = .number(line) }
        if let nearest = fault.nearest { object["nearest"] = .text(nearest) }
        return object
    }

    static func list(_ fault: ListFault) -> Problem {
        var members: [String: Problem.Member] = [
            "line": .number(fault.line), "reason": .text(fault.reason), "kind": .text(word(for: fault.kind)),
        ]
        var place = "Line \(fault.line)"
        if let number = fault.columnNumber {
            members["column_number"] = .number(number)
            place += ", column \(number)"
        }
        if let column = fault.column {
            members["column"] = .text(column)
            place += fault.columnNumber == nil ? ", \(column)" : " (\(column))"
        }
        if let octet = fault.octet { members["octet"] = .number(octet) }
        if let nearest = fault.nearest { members["nearest"] = .text(nearest) }
        let detail =
            "\(place): \(fault.reason)\(fault.reason.hasSuffix(".") ? "" : ".") The earlier list, if any, stays."
        switch fault.kind {
        case .tooManyRows:
            return Problem(
                "too-large", title: "Content too large", status: .contentTooLarge, detail: detail, members: members)
        case .empty:
            return Problem(
                "empty-list", title: "The list is empty", status: .unprocessableContent, detail: detail,
                members: members)
        default:
            return Problem(
                "invalid-list", title: "The list cannot be read", status: .unprocessableContent, detail: detail,
                members: members)
        }
    }

    static func notADraft(_ document: BlastResource) -> Problem {
        conflict(
            "not-a-draft", "The blast is not a draft",
            "The list of a blast that is \(document.state) cannot be replaced. Make a new blast.")
    }

    static func gzip(_ fault: InflateFault, octets limit: Int) -> Problem {
        let stays = "The earlier list, if any, stays."
        switch fault {
        case .damaged:
            return Problem(
                "invalid-gzip", title: "The list cannot be unpacked", status: .unprocessableContent,
                detail: "The body is not gzip, or was damaged on its way. \(stays)")
        case .truncated:
            return Problem(
                "invalid-gzip", title: "The list cannot be unpacked", status: .unprocessableContent,
                detail: "The gzip stream ends in the middle; send the whole file. \(stays)")
        case .tooLarge:
            return Problem(
                "too-large", title: "Content too large", status: .contentTooLarge,
                detail:
                    "Unpacked, the list has more than \(limit) octets, which is the most this route accepts. \(stays)",
                members: ["limit": .number(limit)])
        case .bomb:
            return Problem(
                "too-large", title: "Content too large", status: .contentTooLarge,
                detail:
                    "The list unpacks to more than \(InflateHandle.ratioMax) times its size, which no list of people "
                    + "does; send it uncompressed. \(stays)",
                members: ["ratio": .number(InflateHandle.ratioMax)])
        }
    }

    private static func word(for kind: ListFault.Kind) -> String {
        switch kind {
        case .malformed: "malformed"
        case .encoding: "encoding"
        case .unknownColumn: "unknown-column"
        case .duplicateColumn: "duplicate-column"
        case .missingColumn: "missing-column"
        case .controlCharacter: "control-character"
        case .tooLong: "too-long"
        case .tooManyRows: "too-many-rows"
        case .empty: "empty"
        }
    }
}
