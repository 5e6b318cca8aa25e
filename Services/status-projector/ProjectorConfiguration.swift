import Contracts
import Runtime

struct ProjectorConfiguration: Sendable {
    static let batchMax = Setting<Int>.int(
        "projector.batch.max", default: 2000, in: 1...100_000,
        doc: "most records of one transaction; of each partition as many again are folded ahead")
    static let projection = Setting<String>.string(
        "projector.projection", default: ProjectionName.live.text,
        doc: "\(ProjectionName.live), or the name of a rebuild that 'rollcall rebuild start' made, projected from "
            + "offset 0 into tables of its own and never published")
    static let tailDeadline = Setting<Duration>.duration(
        "projector.tail.deadline", default: .seconds(10), in: .milliseconds(100) ... .seconds(600),
        doc: "how long the last projected record may take to be read again before the history counts as restarted")
    static let clusterCheck = Setting<Duration>.duration(
        "projector.cluster.check", default: .seconds(2), in: .milliseconds(100) ... .seconds(600),
        doc: "how often the broker is asked whether it is still the same cluster")
    static let zombieHorizon = Setting<Duration>.duration(
        "projector.zombie.horizon", default: .seconds(600), in: .zero ... .seconds(86400),
        doc: "how long a stopped owner may sleep and still have its late records repaired on the status topic")
    static let tidyInterval = Setting<Duration>.duration(
        "projector.tidy.interval", default: .seconds(30), in: .milliseconds(100) ... .seconds(600),
        doc: "how often published batches are forgotten and suspect ones repaired")

    static let progressSweep = Setting<Duration>.duration(
        "projector.progress.sweep", default: .seconds(300), in: .seconds(1) ... .seconds(86400),
        doc: "how often blasts that ended more than a day ago are looked at: changed counts, expired reports")

    static let sourcePartitions = Setting<Int>.int(
        "projector.source.partitions", default: Topic.deliveryEvents.partitions, in: 1...1000,
        doc: "how many partitions the event topic has; another number than the contract's is for measurements")

    static let declared: [any DeclaredSetting] = [
        batchMax, projection, tailDeadline, clusterCheck, zombieHorizon, tidyInterval, progressSweep, sourcePartitions,
    ]

    let batchMax: Int
    let projection: String
    let tailDeadline: Duration
    let clusterCheck: Duration
    let zombieHorizon: Duration
    let tidyInterval: Duration
    let progressSweep: Duration
    let sourcePartitions: Int
    let source = Topic.deliveryEvents

    /// The consumer group whose members share the partitions.
    var groupID: String { "rollcall-projector-\(projection)" }

    init(_ settings: Settings) {
        batchMax = settings[Self.batchMax]
        projection = settings[Self.projection]
        tailDeadline = settings[Self.tailDeadline]
        clusterCheck = settings[Self.clusterCheck]
        zombieHorizon = settings[Self.zombieHorizon]
        tidyInterval = settings[Self.tidyInterval]
        progressSweep = settings[Self.progressSweep]
        sourcePartitions = settings[Self.sourcePartitions]
    }
}
