internal import HTTPTypes
public import Hummingbird
internal import HummingbirdCore
public import Logging
internal import NIOCore
internal import NIOHTTP1
public import ServiceLifecycle

/// The bounds of one HTTP server.
public struct HTTPLimits: Sendable {
    /// Time a handler has to return its response; after that it is cancelled and the client gets 503.
    public var requestDeadline: Duration = .seconds(30)
    /// A longer or shorter ``requestDeadline`` for some requests, such as uploads. Nil means the usual one.
    public var deadlineOverride: @Sendable (HTTPRequest) -> Duration? = { _ in nil }
    /// Time from the request's head to the last byte of its response, streaming included; then the connection is closed.
    public var transferDeadline: Duration = .seconds(900)
    /// Time without traffic after which a connection is closed.
    public var idleTimeout: Duration = .seconds(60)
    /// Connections served at once; further ones wait in the listen queue.
    public var maximumConnections = 1_024
    /// Level of the record written per request. Failed requests (5xx) are `warning` whatever this says.
    public var accessLogLevel: Logger.Level = .info

    public init() {}
}

/// The context of a request. Services with more to carry declare their own `RequestContext & Sendable`.
public struct ServiceRequestContext: RequestContext, Sendable {
    public var coreContext: CoreRequestContextStorage

    public init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
    }
}

/// A public HTTP/1.1 server with everything around the routes in one place: request ids, problems for every error,
/// unknown route and wrong method, deadlines, security headers, metrics by route pattern, access records without
/// addresses or query strings.
///
/// The listening port is logged as `<name>.port` and handed to `onListening`. A graceful shutdown stops listening,
/// finishes the requests in hand and closes idle connections.
public struct HTTPServerService: Service {
    /// What a server shows for a problem instead of JSON, such as a page for a browser; nil means JSON.
    public typealias ProblemPage = @Sendable (Problem, Request) -> Response?

    private let name: String
    private let listen: ListenAddress
    private let application: any Service
    private let deadlines: RequestDeadlines

    /// - Parameters:
    ///   - name: prefix of the log key `<name>.port` and value of the metrics' label `server`.
    ///   - context: the type of the request context, `ServiceRequestContext.self` unless the routes need more.
    ///   - problemPage: renders problems for clients that want something other than JSON.
    ///   - onListening: called once with the port when connections are accepted.
    ///   - routes: adds the routes.
    public init<Context: RequestContext & Sendable>(
        name: String, listen: ListenAddress, limits: HTTPLimits = HTTPLimits(), metrics: Metrics = .shared,
        logger: Logger, context: Context.Type, problemPage: ProblemPage? = nil,
        onListening: @escaping @Sendable (Int) -> Void = { _ in }, routes: (Router<Context>) throws -> Void
    ) rethrows where Context.Source == ApplicationRequestContextSource {
        let router = Router(context: Context.self, options: .autoGenerateHeadEndpoints)
        router.add(middleware: RouterErrors())
        try routes(router)
        let deadlines = RequestDeadlines()
        let responder = FurnishedResponder(
            base: router.buildResponder(), routes: RouteTable(router), limits: limits, deadlines: deadlines,
            metrics: HTTPMetrics(server: name, metrics: metrics), logger: logger, problemPage: problemPage)
        var channel = HTTP1Channel.Configuration(idleTimeout: TimeAmount(limits.idleTimeout))
        channel.httpDecoder.maxHeaderListSize = 32 * 1024
        channel.httpDecoder.maxHeaderFieldCount = 100
        // Hummingbird's own records at info name host and port; ours are written below.
        var frameworkLogger = logger
        frameworkLogger.logLevel = max(logger.logLevel, .warning)
        application = Application(
            responder: responder,
            server: Self.server(channel, transferDeadline: limits.transferDeadline, deadlines: deadlines),
            configuration: ApplicationConfiguration(
                address: .hostname(listen.host, port: listen.port), serverName: "rollcall",
                availableConnectionsDelegate: MaximumAvailableConnections(
                    limits.maximumConnections, logger: frameworkLogger)),
            onServerRunning: { channel in
                let port = channel.localAddress?.port ?? listen.port
                logger.info("listening", metadata: ["\(name).port": .stringConvertible(port)])
                onListening(port)
            },
            logger: frameworkLogger)
        self.name = name
        self.listen = listen
        self.deadlines = deadlines
    }

    public func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                do {
                    try await application.run()
                } catch let error as IOError {
                    throw ListenFailure(server: name, address: listen, cause: error)
                }
            }
            group.addTask { await deadlines.run() }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private static func server(
        _ channel: HTTP1Channel.Configuration, transferDeadline: Duration, deadlines: RequestDeadlines
    ) -> HTTPServerBuilder {
        HTTPServerBuilder { responder in
            HTTP1Channel(
                responder: { request, writer, channel in
                    let id = deadlines.add(after: transferDeadline) { channel.close(promise: nil) }
                    defer { deadlines.remove(id) }
                    try await responder(request, writer, channel)
                }, configuration: channel)
        }
    }
}

/// A server could not begin to listen.
public struct ListenFailure: Error, CustomStringConvertible {
    let server: String
    let address: ListenAddress
    let cause: IOError

    public var description: String {
        "the \(server) server cannot listen on \(address): \(cause). Is another process using the port?"
    }
}
