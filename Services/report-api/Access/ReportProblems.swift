import HTTPTypes
import Runtime

/// The refusals of the report, each with its own type.
enum ReportProblems {
    /// One answer for a blast that does not exist, has expired, is another district's, or has an id that is none.
    static let noSuchBlast = Problem(
        "no-such-blast", title: "No such document", status: .notFound,
        detail: "There is no document with this id. Documents are removed 60 days after their blast was sent.")

    static let noSuchRecipient = Problem(
        "no-such-recipient", title: "No such recipient", status: .notFound,
        detail: "This blast has no recipient with this number.")

    static let noSuchCommand = Problem(
        "no-such-command", title: "No such command", status: .notFound,
        detail: "There is no command with this id.")

    static let unauthorized = Problem(
        "unauthorized", title: "A valid API key is needed", status: .unauthorized,
        detail: "Send the header Authorization: Bearer followed by an API key of your district.",
        headers: [.wwwAuthenticate: "Bearer realm=\"rollcall\""])

    static let crossSite = Problem(
        "cross-site", title: "The form came from another site", status: .forbidden,
        detail: "Open the page here and send the form again.")

    static func forbidden(needed: String) -> Problem {
        Problem(
            "forbidden", title: "The key does not allow this", status: .forbidden,
            detail: "This request needs a key with the scope \(needed).", members: ["scope": .text(needed)])
    }

    /// A parameter of the request line that cannot be read.
    static func parameter(_ name: String, _ reason: String, accepted: [String] = []) -> Problem {
        var members: [String: Problem.Member] = ["parameter": .text(name)]
        if !accepted.isEmpty { members["accepted"] = .texts(accepted) }
        return Problem(
            "bad-parameter", title: "Bad parameter", status: .badRequest, detail: "The parameter \(name) \(reason).",
            members: members)
    }

    /// The numbers of a past time are worked out from a blast's records.
    static func pastTooLarge(seconds: Int) -> Problem {
        Problem(
            "as-of-too-large", title: "The past could not be worked out in time", status: .serviceUnavailable,
            detail:
                "This blast has so many records that reading them took more than \(seconds) seconds. Ask again when "
                + "less is going on, or without as_of.",
            headers: [.retryAfter: "60"])
    }

    static func pastBusy(limit: Int) -> Problem {
        Problem(
            "too-many-past-reports", title: "Too many reports of past times at once", status: .serviceUnavailable,
            detail:
                "\(limit) reports of past times are being worked out now. Ask again when one is done, or without as_of.",
            headers: [.retryAfter: "5"])
    }

    static func member(_ name: String, _ reason: String) -> Problem {
        Problem(
            "bad-member", title: "The request cannot be carried out", status: .unprocessableContent,
            detail: "The member \(name) \(reason).", members: ["field": .text(name)])
    }

    static func body(_ reason: String) -> Problem {
        Problem("bad-body", title: "The body cannot be read", status: .badRequest, detail: reason)
    }
}
