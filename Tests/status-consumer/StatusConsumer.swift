import ArgumentParser
import Contracts
import Kafka
import UnixSignals

/// Keeps a copy of every delivery's status in a PostgreSQL database of its own, by the rules of
/// `Shared/Contracts/Consuming.md`. Any number of processes of one group may share a copy.
@main
struct StatusConsumer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status-consumer", abstract: "Keeps a copy of every delivery's status in PostgreSQL.",
        subcommands: [Follow.self, Load.self, Rewind.self, Print.self])
}

struct Follow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Follow the topics until stopped.")

    @OptionGroup var place: CopyPlace
    @Option(help: "Brokers to start from.") var bootstrap: String
    @Option(help: "The consumer group.") var group: String
    @Option(help: "A librdkafka property, NAME=VALUE.") var property: [String] = []

    func run() async throws {
        let copy = try await place.open()
        let overrides = property.map { $0.split(separator: "=", maxSplits: 1).map(String.init) }
        guard overrides.allSatisfy({ $0.count == 2 }) else { throw ValidationError("a property is NAME=VALUE") }
        let kafka = KafkaConfiguration(
            bootstrapServers: bootstrap, clientID: "status-consumer",
            overrides: Dictionary(overrides.map { ($0[0], $0[1]) }) { $1 })
        try await withThrowingTaskGroup { tasks in
            tasks.addTask {
                for await _ in await UnixSignalsSequence(trapping: .sigterm, .sigint) { return }
            }
            tasks.addTask {
                var follower = try Follower(copy, kafka, group: group)
                try await follower.run()
            }
            try await tasks.next()
            tasks.cancelAll()
            try await tasks.waitForAll()
        }
        await copy.close()
    }
}

/// One member of the group. Any error ends the process, and a new one goes on from the stored positions.
struct Follower {
    private let copy: StatusCopy
    private let consumer: KafkaConsumer
    private var clusterID = ""
    private var assigned: Set<TopicPartition> = []

    init(_ copy: StatusCopy, _ kafka: KafkaConfiguration, group: String) throws {
        self.copy = copy
        consumer = try KafkaConsumer(kafka, groupID: group)
    }

    mutating func run() async throws {
        do {
            try await consumer.subscribe([Topic.deliveryStatus.name, Topic.blastProgress.name])
            while !Task.isCancelled { try await turn() }
            await consumer.close()
        } catch {
            await consumer.close()
            throw error
        }
    }

    private mutating func turn() async throws {
        switch try await consumer.next(max: 500, wait: .milliseconds(500)) {
        case .assigned(let partitions):
            guard let cluster = try await consumer.clusterID(timeout: .seconds(30)) else {
                throw CopyError("the broker does not tell which cluster it is: start again")
            }
            guard clusterID.isEmpty || clusterID == cluster else {
                throw CopyError("the broker is another cluster than before: start again")
            }
            clusterID = cluster
            assigned = Set(partitions)
            try await read()
        case .revoked:
            assigned = []
            try await consumer.unassign()
        case .records(let records): try await copy.store(records, of: clusterID)
        case .offsetOutOfRange(let partition): try await read(fromBeginning: partition)
        case .endOfPartition, .idle: break
        }
    }

    /// Every partition from the stored position; from the beginning where there is none, or retention overtook it.
    private func read(fromBeginning overtaken: TopicPartition? = nil) async throws {
        let positions = try await copy.positions(in: clusterID)
        var starts: [TopicPartition: StartOffset] = [:]
        for partition in assigned {
            let position = partition == overtaken ? nil : positions[partition]
            starts[partition] = position.map { .offset($0) } ?? .beginning
        }
        try await consumer.assign(starts)
    }
}

struct Load: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Begin with what `rollcall snapshot` wrote, from standard input.")

    @OptionGroup var place: CopyPlace

    func run() async throws {
        let copy = try await place.open()
        print("\(try await copy.load { readLine() }) deliveries loaded")
        await copy.close()
    }
}

struct Rewind: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Let the next start read the topics from the beginning.")

    @OptionGroup var place: CopyPlace

    func run() async throws {
        let copy = try await place.open()
        try await copy.forgetPositions()
        await copy.close()
    }
}

struct Print: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print one line per delivery: id, facts, version, seq.")

    @OptionGroup var place: CopyPlace

    func run() async throws {
        let copy = try await place.open()
        for line in try await copy.lines() { print(line) }
        await copy.close()
    }
}
