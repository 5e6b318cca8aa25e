internal import HTTPTypes
internal import Hummingbird
internal import Kafka
internal import NIOCore
internal import Postgres

/// Turns any error a handler may throw into the ``Problem`` the client sees.
enum ErrorTranslation {
    /// What the client sees, and whether the cause is a defect of ours that belongs in the log.
    struct Outcome {
        let problem: Problem
        let isDefect: Bool
    }

    static func outcome(of error: any Error, deadlinePassed: Bool) -> Outcome {
        switch error {
        case let problem as Problem:
            return Outcome(problem: problem, isDefect: false)
        case let error as PostgresError
        where error.isRetriable || error.code == .ambiguousCommit || error.code == .poolClosed:
            return Outcome(problem: .unavailable(detail: "The database does not answer now."), isDefect: true)
        case let error as KafkaError where error.isRetriable || error.isFatal || error.code == .closed:
            return Outcome(problem: .unavailable(detail: "The message broker does not answer now."), isDefect: true)
        case let error as any HTTPResponseError:
            return Outcome(problem: problem(for: error), isDefect: false)
        default:
            if deadlinePassed {
                return Outcome(
                    problem: .unavailable(detail: "The request took longer than this service allows."), isDefect: true)
            }
            return Outcome(
                problem: Problem(
                    "internal", title: "Internal error", status: .internalServerError,
                    detail: "The service failed to answer this request. Its log names the cause under this instance."),
                isDefect: true)
        }
    }

    static func problem(for error: any HTTPResponseError) -> Problem {
        if error is NIOTooManyBytesError {
            return Problem(
                "too-large", title: "Content too large", status: .contentTooLarge,
                detail: "The request body is larger than this route accepts.")
        }
        guard let error = error as? HTTPError else { return problem(for: error.status) }
        return problem(for: error.status, detail: error.body, headers: error.headers)
    }

    static func problem(
        for status: HTTPResponse.Status, detail: String? = nil, headers: HTTPFields = [:]
    ) -> Problem {
        let title = status.reasonPhrase.isEmpty ? "HTTP \(status.code)" : status.reasonPhrase
        let slug = title.lowercased().split { !$0.isASCII || !($0.isLetter || $0.isNumber) }.joined(separator: "-")
        return Problem(slug, title: title, status: status, detail: detail, headers: headers)
    }
}

/// Keeps the router from rendering errors itself: every error reaches ``FurnishedResponder`` as a ``Problem`` or as it is.
struct RouterErrors<Context: RequestContext>: RouterMiddleware {
    func handle(
        _ request: Request, context: Context, next: @concurrent (Request, Context) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let error as any HTTPResponseError where context.endpointPath != RouteTable.unmatched {
            throw ErrorTranslation.problem(for: error)
        }
    }
}
