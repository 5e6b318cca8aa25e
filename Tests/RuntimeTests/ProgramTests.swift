import Foundation
import Glibc
import ServiceLifecycle
import Testing

@testable import Runtime

@Suite(.timeLimit(.minutes(10))) struct ProgramTests {
    private static let environment = ["ROLLCALL_KAFKA_BOOTSTRAP": "localhost:1"]

    private func code(_ arguments: [String], environment: [String: String] = Self.environment) async -> Int32 {
        await ServiceProgram(name: "test", summary: "A test.", roles: [.projector])
            .run(arguments: arguments, environment: environment) { _ in
                Issue.record("must not start")
                return []
            }
    }

    @Test func `help, version and print-config end with 0`() async {
        #expect(await code(["--help"], environment: [:]) == 0)
        #expect(await code(["--version"], environment: [:]) == 0)
        #expect(await code(["--print-config"]) == 0)
    }

    @Test func `a wrong command line ends with 64`() async {
        #expect(await code(["--verbose"]) == 64)
        #expect(await code(["--config"]) == 64)
        #expect(await code(["--config="]) == 64)
    }

    @Test func `a bad configuration ends with 78`() async {
        #expect(await code(["--print-config"], environment: [:]) == 78)
        #expect(await code(["--config", "/nonexistent"]) == 78)
        #expect(await code([], environment: Self.environment.merging(["ROLLCALL_CONFIG": "/nonexistent"]) { $1 }) == 78)
        #expect(await code([], environment: Self.environment.merging(["ROLLCALL_KAFKA_BOTSTRAP": "x"]) { $1 }) == 78)
        #expect(await code([], environment: Self.environment.merging(["ROLLCALL_FAULT_POINT": "nowhere"]) { $1 }) == 78)
    }

    @Test func `SIGTERM ends the program with 0`() async {
        await #expect(processExitsWith: .exitCode(0)) {
            struct Signalling: Service {
                func run() async throws {
                    kill(getpid(), SIGTERM)
                    try await gracefulShutdown()
                }
            }
            let code = await ServiceProgram(name: "test", summary: "A test.")
                .run(arguments: [], environment: ["ROLLCALL_KAFKA_BOOTSTRAP": "h:1"]) { _ in [Signalling()] }
            exit(code)
        }
    }

    @Test func `a service that fails ends the program with 1`() async {
        await #expect(processExitsWith: .exitCode(1)) {
            struct Broken: Error {}
            struct Failing: Service {
                func run() async throws { throw Broken() }
            }
            let code = await ServiceProgram(name: "test", summary: "A test.")
                .run(arguments: [], environment: ["ROLLCALL_KAFKA_BOOTSTRAP": "h:1"]) { _ in [Failing()] }
            exit(code)
        }
    }

    @Test func `the process dies at the armed fault point, at the time asked for`() async {
        await #expect(processExitsWith: .signal(SIGKILL)) {
            FaultPoint.arm("projector.after-commit:2")
            FaultPoint.reach("projector.before-commit")
            FaultPoint.reach("projector.after-commit")
            FaultPoint.reach("projector.after-commit")
            exit(0)
        }
        await #expect(processExitsWith: .exitCode(0)) {
            FaultPoint.arm("projector.after-commit:2")
            FaultPoint.reach("projector.after-commit")
            exit(0)
        }
    }

    @Test(arguments: [
        "nowhere", "projector.after-commit:0", "projector.after-commit:x", "projector.after-commit:1:2", "",
    ])
    func `a fault point that does not exist cannot be armed`(text: String) {
        #expect(FaultPoint.parse(text) == nil)
    }

    @Test func `every fault point that a service reaches is declared`() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../..").standardized
        let services = root.appending(path: "Services")
        let files = try #require(FileManager.default.enumerator(atPath: services.path)).compactMap { $0 as? String }
        #expect(files.contains { $0.hasSuffix(".swift") })
        for file in files where file.hasSuffix(".swift") {
            let text = try String(contentsOf: services.appending(path: file), encoding: .utf8)
            for match in text.matches(of: /FaultPoint\.reach\("([^"]*)"\)/) {
                #expect(FaultPoint.names.contains(String(match.1)), "\(file) reaches an undeclared point")
            }
        }
    }
}
