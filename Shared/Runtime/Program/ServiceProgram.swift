internal import Foundation
internal import Glibc
internal import Logging
public import ServiceLifecycle
internal import UnixSignals

/// A service's executable: command line, configuration, logs, health, signals and exit code, the same for all of them.
///
/// ```swift
/// @main struct Projector {
///     static func main() async {
///         await ServiceProgram(name: "status-projector", summary: "…", roles: [.projector], settings: [batchSize])
///             .run { context in [ProjectorService(context)] }
///     }
/// }
/// ```
///
/// Exit codes: 0 after a graceful stop, 64 for a wrong command line, 78 for a bad configuration, 1 for everything else.
/// SIGTERM and SIGINT stop gracefully: services stop in reverse order, the admin server last; what has not ended within
/// `shutdown.grace` is cancelled, and five seconds later the process ends whatever hangs. Any service that ends or
/// throws by itself stops the whole program, and a supervisor starts it again.
public struct ServiceProgram: Sendable {
    public enum ExitCode {
        public static let success: Int32 = 0
        public static let failure: Int32 = 1
        public static let usage: Int32 = 64
        public static let configuration: Int32 = 78
    }

    private let name: String
    private let summary: String
    private let declared: [any DeclaredSetting]

    /// - Parameters:
    ///   - name: the executable's name.
    ///   - summary: one line for `--help`.
    ///   - roles: the PostgreSQL roles it logs in as, if it uses PostgreSQL.
    ///   - settings: its own settings; the common ones are added.
    public init(name: String, summary: String, roles: [PostgresRole] = [], settings: [any DeclaredSetting] = []) {
        self.name = name
        self.summary = summary
        declared = CommonSettings.all(roles: roles) + settings
    }

    /// Runs the program with the process's arguments and environment; does not return.
    public func run(_ makeServices: (ProgramContext) async throws -> [any Service]) async -> Never {
        let code = await run(
            arguments: Array(CommandLine.arguments.dropFirst()), environment: ProcessInfo.processInfo.environment,
            makeServices)
        ProcessEnd.now(code)
    }

    func run(
        arguments: [String], environment: [String: String],
        _ makeServices: (ProgramContext) async throws -> [any Service]
    ) async -> Int32 {
        let options: ProgramArguments
        do {
            options = try ProgramArguments(arguments)
        } catch {
            Self.complain("\(name): \(error.explanation)\n\(usage)")
            return ExitCode.usage
        }
        if options.printsHelp {
            Self.say(help)
            return ExitCode.success
        }
        if options.printsVersion {
            Self.say("\(name) \(Version.current)")
            return ExitCode.success
        }
        let settings: Settings
        do {
            settings = try readSettings(options, environment)
        } catch {
            Self.complain("\(name): the configuration has \(error.complaints.count) error(s):\n\(error)")
            return ExitCode.configuration
        }
        if options.printsConfiguration {
            Self.say(settings.printed())
            if let point = settings[CommonSettings.faultPoint] {
                Self.say("warning: fault.point is \(point): this process will kill itself there")
            }
            return ExitCode.success
        }
        return await serve(settings, makeServices)
    }

    private func readSettings(
        _ options: ProgramArguments, _ environment: [String: String]
    ) throws(ConfigurationError) -> Settings {
        var file: ConfigurationFile?
        if let path = options.file ?? environment["ROLLCALL_CONFIG"] { file = try ConfigurationFile(path: path) }
        return try Settings(declared: declared, environment: environment, file: file)
    }

    private func serve(
        _ settings: Settings, _ makeServices: (ProgramContext) async throws -> [any Service]
    ) async -> Int32 {
        let level = settings[CommonSettings.logLevel]
        LoggingSystem.bootstrap { [name] _ in JSONLogHandler(service: name, logLevel: level) }
        let logger = Logger(label: name)
        let context = ProgramContext(
            name: name, settings: settings, logger: logger, metrics: .shared, readiness: Readiness())
        ProcessMetrics.register(in: .shared, service: name, version: Version.current)
        logger.info("starting", metadata: ["version": "\(Version.current)"])
        if let point = settings[CommonSettings.faultPoint] {
            logger.warning("armed fault point", metadata: ["fault.point": "\(point)"])
            FaultPoint.arm(point)
        }
        do {
            let services = try await makeServices(context)
            let admin = AdminServer(
                listen: settings[CommonSettings.adminListen], readiness: context.readiness, logger: logger)
            try await Self.group(
                [admin] + services, readiness: context.readiness, grace: settings[CommonSettings.shutdownGrace],
                signals: [.sigterm, .sigint], logger: logger, onOverrun: Self.endAtOnce
            ).run()
            logger.info("stopped")
            return ExitCode.success
        } catch let error as ConfigurationError {
            logger.critical("bad configuration", error: error)
            return ExitCode.configuration
        } catch {
            logger.critical("stopped by an error", error: error)
            return ExitCode.failure
        }
    }

    static func group(
        _ services: [any Service], readiness: Readiness, grace: Duration, signals: [UnixSignal], logger: Logger,
        afterGrace: Duration = .seconds(5), onOverrun: @escaping @Sendable () -> Void
    ) -> ServiceGroup {
        var entries = services.map { service in
            entry(NeverEarly(service: service), named: String(describing: type(of: service)))
        }
        // Last in the list is first to be told to stop.
        entries.append(
            entry(
                ShutdownBound(readiness: readiness, bound: grace + afterGrace, logger: logger, onOverrun: onOverrun),
                named: "ShutdownBound"))
        var configuration = ServiceGroupConfiguration(
            services: entries, gracefulShutdownSignals: signals, logger: logger)
        configuration.maximumGracefulShutdownDuration = grace
        return ServiceGroup(configuration: configuration)
    }

    private static func entry(
        _ service: any Service, named name: String
    ) -> ServiceGroupConfiguration.ServiceConfiguration {
        .init(
            service: service, successTerminationBehavior: .gracefullyShutdownGroup,
            failureTerminationBehavior: .gracefullyShutdownGroup, serviceName: name)
    }

    @Sendable private static func endAtOnce() {
        LogSink.standardError.flush()
        _exit(ExitCode.failure)
    }

    private var usage: String { "usage: \(name) [--config FILE] [--print-config] [--version] [--help]" }

    private var help: String {
        let settings = declared.sorted { $0.key < $1.key }.map { setting in
            let value = setting.isRequired ? "required" : "default \(setting.defaultText ?? "none")"
            return "  \(setting.key)  (\(Settings.variable(for: setting.key)); \(value))\n"
                + "      \(setting.documentation). Expected: \(setting.expectation)."
        }
        return """
            \(name): \(summary)

            \(usage)

              --config FILE    JSON file with settings; ROLLCALL_CONFIG names one as well
              --print-config   show every setting, its value and its source, then exit
              --version        show the version, then exit
              --help           show this text, then exit

            Settings (environment over file over default):

            \(settings.joined(separator: "\n"))
            """
    }

    private static func say(_ text: String) {
        try? FileHandle.standardOutput.write(contentsOf: Data((text + "\n").utf8))
    }

    private static func complain(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data((text + "\n").utf8))
    }
}
