public import Logging

/// The settings every service has.
public enum CommonSettings {
    public static let kafkaBootstrap = Setting.string(
        "kafka.bootstrap", doc: "brokers to start from, host:port, comma-separated")
    public static let kafkaOverrides = Setting.pairs(
        "kafka.client.overrides", default: [:],
        doc: "librdkafka properties that win over ours, such as session.timeout.ms=2000")
    public static let postgresHost = Setting.string(
        "postgres.host", default: "127.0.0.1", doc: "PostgreSQL server or socket folder")
    public static let postgresPort = Setting.int(
        "postgres.port", default: 5432, in: 1...65535, doc: "PostgreSQL port")
    public static let postgresDatabase = Setting.string(
        "postgres.database", default: "rollcall", doc: "PostgreSQL database")
    public static let postgresPassword = Setting.optionalSecret(
        "postgres.password", doc: "password of every role that has none of its own")
    public static let adminListen = Setting.listen(
        "admin.listen", default: ListenAddress(host: "127.0.0.1", port: 0),
        doc: "address of /healthz, /readyz and /metrics; port 0 picks a free one")
    public static let logLevel = Setting.level("log.level", default: .info, doc: "least severe records written")
    public static let shutdownGrace = Setting.duration(
        "shutdown.grace", default: .seconds(15), in: .milliseconds(100) ... .seconds(600),
        doc: "time to finish work after SIGTERM before it is cancelled")
    public static let faultPoint = Setting<String?>.faultPoint

    /// The user of one role; its default is `rollcall_<role>`.
    public static func postgresUser(_ role: PostgresRole) -> Setting<String> {
        .string(
            "postgres.\(role.rawValue).user", default: "rollcall_\(role.rawValue)", doc: "PostgreSQL user of this role")
    }

    /// The password of one role; without it `postgres.password` is used.
    public static func postgresPassword(_ role: PostgresRole) -> Setting<String?> {
        .optionalSecret("postgres.\(role.rawValue).password", doc: "password of that user, if it has one of its own")
    }

    static func all(roles: [PostgresRole]) -> [any DeclaredSetting] {
        let base: [any DeclaredSetting] = [
            kafkaBootstrap, kafkaOverrides, adminListen, logLevel, shutdownGrace, faultPoint,
        ]
        guard !roles.isEmpty else { return base }
        let postgres: [any DeclaredSetting] = [postgresHost, postgresPort, postgresDatabase, postgresPassword]
        return base + postgres + roles.flatMap { [postgresUser($0), postgresPassword($0)] as [any DeclaredSetting] }
    }
}
