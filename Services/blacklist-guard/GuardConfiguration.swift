import Kafka
import Postgres
import Runtime

/// The guard's own settings, next to the common ones.
struct GuardConfiguration {
    static let connectionsSetting = Setting.int(
        "guard.database.connections", default: 6, in: 3...64,
        doc: "PostgreSQL connections, besides two for emergencies")
    static let publishIntervalSetting = Setting.duration(
        "guard.publish.interval", default: .seconds(2), in: .milliseconds(50) ... .seconds(10),
        doc: "how often rows that were committed but not published are looked for")
    static let clusterCheckSetting = Setting.duration(
        "guard.cluster.check", default: .seconds(2), in: .milliseconds(100) ... .seconds(10),
        doc: "how often the broker is asked whether it is still the same cluster")
    static let watchIntervalSetting = Setting.duration(
        "guard.watch.interval", default: .seconds(3), in: .milliseconds(100) ... .seconds(10),
        doc: "how often a restart of the event history is looked for")
    static let progressIntervalSetting = Setting.duration(
        "guard.progress.interval", default: .seconds(1), in: .milliseconds(100) ... .seconds(10),
        doc: "how often it is proven that everything has been learned; well below sender.guard.freshness")
    static let softCountSetting = Setting.int(
        "guard.soft.bounces", default: 3, in: 1...100,
        doc: "deliveries that must expire undelivered before an address is blocked")
    static let softWindowSetting = Setting.duration(
        "guard.soft.window", default: .seconds(90 * 86_400), in: .seconds(3_600) ... .seconds(31_536_000),
        doc: "within which those deliveries count")

    static let settings: [any DeclaredSetting] = [
        connectionsSetting, publishIntervalSetting, clusterCheckSetting, watchIntervalSetting,
        progressIntervalSetting, softCountSetting, softWindowSetting,
    ]

    let kafka: KafkaConfiguration
    let postgres: PostgresConfiguration
    let connections: Int
    let publishInterval: Duration
    let clusterCheck: Duration
    let watchInterval: Duration
    let progressInterval: Duration
    let softBounces: SoftBounceRule

    init(_ settings: Settings) {
        kafka = settings.kafka(clientID: "blacklist-guard")
        postgres = settings.postgres(.guard, applicationName: "blacklist-guard")
        connections = settings[Self.connectionsSetting]
        publishInterval = settings[Self.publishIntervalSetting]
        clusterCheck = settings[Self.clusterCheckSetting]
        watchInterval = settings[Self.watchIntervalSetting]
        progressInterval = settings[Self.progressIntervalSetting]
        softBounces = SoftBounceRule(
            deliveries: settings[Self.softCountSetting], window: settings[Self.softWindowSetting])
    }
}
