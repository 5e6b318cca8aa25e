internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOHTTP1

/// Answers requests through the router and adds what every answer of ours has.
struct FurnishedResponder<Context: RequestContext & Sendable>: HTTPResponder {
    let base: RouterResponder<Context>
    let routes: RouteTable
    let limits: HTTPLimits
    let deadlines: RequestDeadlines
    let metrics: HTTPMetrics
    let logger: Logger
    let problemPage: HTTPServerService.ProblemPage?

    func respond(to request: Request, context: Context) async throws -> Response {
        let started = ContinuousClock.now
        var context = context
        context.logger.logLevel = logger.logLevel
        let id = Self.id(of: context)
        metrics.began()
        defer { metrics.ended() }
        var response: Response
        do {
            response = try await answer(request, context, id: id)
        } catch let error as HTTPParserError {
            throw error
        }
        let route = context.endpointPath ?? RouteTable.unmatched
        if route == RouteTable.unmatched, response.status == .notFound {
            response = render(noRoute(request), request, id)
        } else if response.status.code >= 400, response.headers[.contentType] == nil {
            response = render(ErrorTranslation.problem(for: response.status, headers: response.headers), request, id)
        }
        if request.method == .head { response = response.createHeadResponse() }
        Self.addHeaders(to: &response, id: id)
        let elapsed = ContinuousClock.now - started
        metrics.answered(route: route, method: request.method, status: response.status.code, elapsed: elapsed)
        let level = response.status.code >= 500 ? max(.warning, limits.accessLogLevel) : limits.accessLogLevel
        context.logger.log(
            level: level, "request",
            metadata: [
                "http.method": "\(HTTPMetrics.label(request.method))", "http.route": "\(route)",
                "http.status": .stringConvertible(response.status.code),
                "duration_ms": .stringConvertible((elapsed / .microseconds(1)).rounded() / 1_000),
            ])
        return response
    }

    /// Runs the handler in a task of its own, so that its deadline can cancel it without closing the connection.
    private func answer(_ request: Request, _ context: Context, id: String) async throws -> Response {
        let handler = Task { [base] in try await base.respond(to: request, context: context) }
        let limit = min(limits.deadlineOverride(request.head) ?? limits.requestDeadline, limits.transferDeadline)
        let deadline = deadlines.add(after: limit) { handler.cancel() }
        let result = await withTaskCancellationHandler {
            await handler.result
        } onCancel: {
            handler.cancel()
        }
        let deadlinePassed = !deadlines.remove(deadline)
        switch result {
        case .success(let response): return response
        case .failure(let error as HTTPParserError): throw error
        case .failure(let error):
            let outcome = ErrorTranslation.outcome(of: error, deadlinePassed: deadlinePassed)
            if outcome.isDefect { record(error, deadlinePassed: deadlinePassed, context) }
            return render(outcome.problem, request, id)
        }
    }

    /// Errors of our own adapters describe themselves without payloads; of any other only the type is written at `error`.
    private func record(_ error: any Error, deadlinePassed: Bool, _ context: Context) {
        let route = context.endpointPath ?? RouteTable.unmatched
        context.logger.error(
            "request failed",
            metadata: [
                "http.route": "\(route)", "error.type": "\(type(of: error))",
                "deadline.passed": .stringConvertible(deadlinePassed),
                "cause": "\(DependencyErrors.safeDescription(of: error) ?? "written at level debug")",
            ])
        context.logger.debug("request failed", metadata: ["cause": "\(error)"])
    }

    private func noRoute(_ request: Request) -> Problem {
        let methods = routes.methods(for: request.uri.path)
        guard !methods.isEmpty else {
            return Problem(
                "not-found", title: "Not found", status: .notFound, detail: "There is nothing at this path.")
        }
        let allowed = methods.joined(separator: ", ")
        return Problem(
            "method-not-allowed", title: "Method not allowed", status: .methodNotAllowed,
            detail: "This path answers \(allowed).", headers: [.allow: allowed])
    }

    private func render(_ problem: Problem, _ request: Request, _ id: String) -> Response {
        problemPage?(problem, request) ?? problem.response(instance: "urn:rollcall:request:\(id)")
    }

    /// Hummingbird's `context.id` traps when the log handler does not keep metadata.
    private static func id(of context: Context) -> String {
        context.logger[metadataKey: "hb.request.id"]?.description ?? RequestID().description
    }

    private static func addHeaders(to response: inout Response, id: String) {
        response.headers[.requestID] = id
        response.headers[.xContentTypeOptions] = "nosniff"
        add(.contentSecurityPolicy, "default-src 'none'; frame-ancestors 'none'", to: &response)
        add(.referrerPolicy, "no-referrer", to: &response)
        add(.cacheControl, "no-store", to: &response)
    }

    private static func add(_ name: HTTPField.Name, _ value: String, to response: inout Response) {
        if response.headers[name] == nil { response.headers[name] = value }
    }
}

extension HTTPField.Name {
    fileprivate static let requestID = Self("X-Request-Id")!
    fileprivate static let referrerPolicy = Self("Referrer-Policy")!
}
