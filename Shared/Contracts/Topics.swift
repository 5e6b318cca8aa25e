/// A topic as a value: what `rollcall topics apply` creates and every service names.
public struct Topic: Sendable, Hashable {
    public enum Cleanup: String, Sendable {
        case delete
        case compact
        case compactAndDelete = "compact,delete"
    }

    public let name: String
    /// Fixed for this version of the topic: the partition of a key never changes.
    public let partitions: Int
    public let cleanup: Cleanup
    public let retention: Duration
    /// What a record's key identifies.
    public let key: String
    /// Who may write to it.
    public let writers: String
    /// Records bear the broker's time instead of their writer's: what was known at a moment is told by it.
    public private(set) var isTimedByBroker = false

    /// Broker settings, in Kafka's own words. Whatever is removed, is removed in segments: a day each, and small where
    /// the cleaner merges them, so that old personal data does not live on beside new.
    public func configuration(replicationFactor: Int16) -> [String: String] {
        var settings = [
            "cleanup.policy": cleanup.rawValue,
            "retention.ms": String(retention.components.seconds * 1000),
            "min.insync.replicas": String(min(2, max(1, replicationFactor))),
            "segment.ms": String(24 * 3600 * 1000),
        ]
        if cleanup != .delete {
            settings["min.compaction.lag.ms"] = String(7 * 24 * 3600 * 1000)
            settings["segment.bytes"] = String(64 * 1024 * 1024)
        }
        if isTimedByBroker { settings["message.timestamp.type"] = "LogAppendTime" }
        return settings
    }
}

extension Topic {
    private static let deliveryPartitions = 4

    public static let chunksRequested = work("rollcall.chunks.requested.v1", key: "blast", writers: "sender")
    public static let chunksRequestedEmergency = work(
        "rollcall.chunks.requested.emergency.v1", key: "blast", writers: "sender")
    public static let chunksCleared = work("rollcall.chunks.cleared.v1", key: "chunk", writers: "blacklist-guard")
    public static let chunksClearedEmergency = work(
        "rollcall.chunks.cleared.emergency.v1", key: "chunk", writers: "blacklist-guard")

    public static let deliveryEvents = Topic(
        name: "rollcall.delivery.events.v1", partitions: deliveryPartitions, cleanup: .delete, retention: days(68),
        key: "delivery", writers: "sender, blacklist-guard, event-ingester", isTimedByBroker: true)
    public static let deliveryStatus = Topic(
        name: "rollcall.delivery.status.v1", partitions: deliveryPartitions, cleanup: .compactAndDelete,
        retention: days(68), key: "delivery", writers: "status-projector")
    public static let blastProgress = Topic(
        name: "rollcall.blast.progress.v1", partitions: deliveryPartitions, cleanup: .compactAndDelete,
        retention: days(68), key: "blast", writers: "status-projector")
    public static let blacklist = Topic(
        name: "rollcall.blacklist.v1", partitions: 4, cleanup: .compact, retention: days(68),
        key: "district and address hash", writers: "blacklist-guard")
    public static let commands = work("rollcall.commands.v1", key: "target", writers: "report-api")
    public static let deadLetters = Topic(
        name: "rollcall.dead-letters.v1", partitions: 4, cleanup: .delete, retention: days(68),
        key: "where the record came from", writers: "blacklist-guard, event-ingester, status-projector")

    public static let all: [Topic] = [
        chunksRequested, chunksRequestedEmergency, chunksCleared, chunksClearedEmergency, deliveryEvents,
        deliveryStatus, blastProgress, blacklist, commands, deadLetters,
    ]

    private static func work(_ name: String, key: String, writers: String) -> Topic {
        Topic(name: name, partitions: 4, cleanup: .delete, retention: days(7), key: key, writers: writers)
    }

    private static func days(_ count: Int) -> Duration { .seconds(count * 24 * 3600) }
}
