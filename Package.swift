// swift-tools-version:6.2
import PackageDescription

/// Targets stand in dependency order: each one imports only what stands above it, and services never import each
/// other. `Tests/TidyTests` keeps that true.

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .treatWarning("DeprecatedDeclaration", as: .warning),
]

let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let nio = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let signals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let mustache = Target.Dependency.product(name: "Mustache", package: "swift-mustache")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

func module(
    _ name: String, _ path: String, _ dependencies: [Target.Dependency] = [], exclude: [String] = [],
    resources: [Resource] = []
) -> Target {
    .target(
        name: name, dependencies: dependencies, path: "Shared/\(path)", exclude: exclude, resources: resources,
        swiftSettings: strict)
}

func service(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = []) -> Target {
    .executableTarget(
        name: name, dependencies: dependencies, path: "Services/\(name)", resources: resources, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .testTarget(
        name: name, dependencies: dependencies, path: "Tests/\(name)", exclude: exclude, swiftSettings: strict)
}

let package = Package(
    name: "rollcall",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "sender", targets: ["sender"]),
        .executable(name: "event-ingester", targets: ["event-ingester"]),
        .executable(name: "status-projector", targets: ["status-projector"]),
        .executable(name: "blacklist-guard", targets: ["blacklist-guard"]),
        .executable(name: "report-api", targets: ["report-api"]),
        .executable(name: "rollcall", targets: ["rollcall"]),
        // What a consumer of the topics in Swift builds on.
        .library(name: "RollcallConsuming", targets: ["Delivery", "Contracts", "Kafka", "Postgres"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", exact: "1.8.0", traits: []),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", exact: "2.28.1", traits: []),
        .package(url: "https://github.com/hummingbird-project/swift-mustache", exact: "2.1.1"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", exact: "2.13.0"),
    ],
    targets: [
        // Domain: the standard library only.
        module("Delivery", "Domain/Delivery"),
        module("Mail", "Domain/Mail", ["Delivery"]),

        // What crosses a process border.
        module(
            "Contracts", "Contracts", ["Delivery"],
            exclude: ["Consuming.md", "asyncapi.yaml", "examples", "facts.json", "schemas"]),

        // The C fence.
        .systemLibrary(
            name: "CLibpq", path: "Shared/Interop/CLibpq", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(
            name: "CRdkafka", path: "Shared/Interop/CRdkafka", pkgConfig: "rdkafka",
            providers: [.apt(["librdkafka-dev"])]),
        .systemLibrary(
            name: "CZlib", path: "Shared/Interop/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        module("BlockingExecutor", "Interop/BlockingExecutor"),
        module("Inflate", "Interop/Inflate", ["CZlib"]),

        // The outside world.
        module("Postgres", "Adapters/Postgres", ["CLibpq", "BlockingExecutor"]),
        module("Kafka", "Adapters/Kafka", ["CRdkafka", "BlockingExecutor"]),
        module("Schema", "Adapters/Schema", ["Delivery", "Postgres"], resources: [.embedInCode("Migrations")]),
        module("Signing", "Adapters/Signing", ["Delivery", crypto]),
        module("SMTP", "Adapters/SMTP", ["Mail", nio, nioPosix, nioTLS, nioSSL]),
        module(
            "HTTPProviders", "Adapters/HTTPProviders", ["Mail", "Signing", nio, nioPosix, nioHTTP1, nioSSL]),

        // Process furniture.
        module(
            "Runtime", "Runtime",
            [
                "Delivery", "Contracts", "Kafka", "Postgres", logging, hummingbird, hummingbirdCore, httpTypes, nio,
                nioHTTP1, lifecycle, signals,
            ]),

        // Services. One executable each; they meet only on topics and tables.
        service(
            "sender",
            [
                "Delivery", "Mail", "Contracts", "Inflate", "Kafka", "Postgres", "Signing", "SMTP", "HTTPProviders",
                "Runtime", logging, hummingbird, httpTypes, nio, nioPosix, lifecycle, mustache,
            ]),
        service(
            "event-ingester",
            [
                "Delivery", "Mail", "Contracts", "Kafka", "Postgres", "Signing", "Runtime", logging, hummingbird,
                httpTypes, nio, lifecycle,
            ]),
        service(
            "status-projector", ["Delivery", "Contracts", "Kafka", "Postgres", "Runtime", logging, lifecycle]),
        service(
            "blacklist-guard",
            ["Delivery", "Mail", "Contracts", "Kafka", "Postgres", "Signing", "Runtime", logging, lifecycle]),
        service(
            "report-api",
            [
                "Delivery", "Mail", "Contracts", "Kafka", "Postgres", "Signing", "Runtime", logging, hummingbird,
                httpTypes, nio, lifecycle, mustache, crypto,
            ], resources: [.embedInCode("Pages")]),
        service("rollcall", ["Delivery", "Contracts", "Kafka", "Postgres", "Runtime", "Schema", "Signing", arguments]),

        // Tests.
        .executableTarget(
            name: "mailbox-simulator", dependencies: ["Mail", "Signing", nio, nioPosix, nioHTTP1, arguments],
            path: "Tests/mailbox-simulator", swiftSettings: strict),
        .executableTarget(
            name: "status-consumer", dependencies: ["Delivery", "Contracts", "Kafka", "Postgres", arguments, signals],
            path: "Tests/status-consumer", swiftSettings: strict),
        .target(
            name: "TestKit", dependencies: ["Delivery", "Contracts", "CRdkafka", "Kafka", "Postgres", "Schema"],
            path: "Tests/TestKit", swiftSettings: strict),
        tests("DeliveryTests", ["Delivery"]),
        tests("MailTests", ["Mail", "TestKit"], exclude: ["reader.py"]),
        tests(
            "ContractsTests", ["Contracts", "Delivery", "Postgres", "TestKit"], exclude: ["consumer.py", "validate.py"]),
        tests("SigningTests", ["Signing", "Delivery"]),
        tests(
            "SMTPTests", ["SMTP", "Mail", "TestKit", nio, nioPosix, nioEmbedded], exclude: ["peer.py", "postfix.py"]),
        tests(
            "HTTPProvidersTests", ["HTTPProviders", "Mail", "Signing", "TestKit", nio, nioPosix],
            exclude: ["oracle.py", "providers.py"]),
        tests("PostgresTests", ["Postgres", "Schema", "Delivery", "TestKit"]),
        tests("KafkaTests", ["Kafka", "Contracts", "TestKit"]),
        tests("RuntimeTests", ["Runtime", "Kafka", "Postgres", logging, hummingbird, httpTypes, lifecycle]),
        tests(
            "ProjectorTests",
            ["Delivery", "Contracts", "Kafka", "Postgres", "Runtime", "TestKit", "status-projector"],
            exclude: ["cut.py", "reference.py", "topics.py"]),
        tests(
            "GuardTests",
            [
                "Delivery", "Contracts", "Kafka", "Mail", "Postgres", "Signing", "TestKit", "blacklist-guard", logging,
                lifecycle,
            ]),
        tests("RollcallTests", ["Postgres", "TestKit", "rollcall"]),
        tests(
            "SenderTests",
            [
                "Delivery", "Contracts", "Inflate", "Kafka", "Mail", "Postgres", "Runtime", "SMTP", "Signing",
                "TestKit",
                "sender", logging, hummingbird, httpTypes, nio, nioPosix, lifecycle,
            ]),
        tests(
            "IngesterTests",
            ["Delivery", "Contracts", "Kafka", "Postgres", "Signing", "TestKit", "event-ingester"]),
        tests(
            "ReportTests",
            [
                "Delivery", "Mail", "Contracts", "Kafka", "Postgres", "Runtime", "Signing", "TestKit", "report-api",
                "rollcall", "status-projector", logging, hummingbird, lifecycle,
            ]),
        tests("TidyTests", []),
        tests(
            "EndToEndTests",
            [
                "Delivery", "Contracts", "Kafka", "Postgres", "Signing", "TestKit", "sender", "event-ingester",
                "status-projector", "blacklist-guard", "report-api", "rollcall", "mailbox-simulator",
                "status-consumer",
            ]),
    ],
    swiftLanguageModes: [.v6]
)
