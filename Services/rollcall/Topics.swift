import ArgumentParser
import Contracts
import Kafka

struct Topics: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make or list the Kafka topics.", subcommands: [Apply.self, List.self])

    struct Apply: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make the topics that are missing.",
            discussion: """
                Safe to repeat. Refuses when a topic has another number of partitions: the partition of a key must never \
                change, so such a topic needs a new version, not more partitions. The settings of a topic that is there \
                are neither compared nor changed.
                """)

        @Option(help: "Copies of each partition; from 2 on, a write is acknowledged once two have it.")
        var replicationFactor: Int16 = 1
        @Option(help: "Seconds to wait for a broker.") var wait = 60

        func run() async throws {
            try await Topics.withAdmin(wait) { admin, existing in
                let differences = Topic.all.compactMap { topic -> String? in
                    guard let count = existing[topic.name], count != topic.partitions else { return nil }
                    return "\(topic.name) has \(count) partitions, this version needs \(topic.partitions)"
                }
                guard differences.isEmpty else {
                    throw Failure("nothing was changed: " + differences.joined(separator: "; "))
                }
                let missing = Topic.all.filter { existing[$0.name] == nil }
                do {
                    try await admin.create(
                        missing.map {
                            TopicSpecification(
                                name: $0.name, partitions: Int32($0.partitions), replicationFactor: replicationFactor,
                                configuration: $0.configuration(replicationFactor: replicationFactor))
                        }, timeout: .seconds(30))
                } catch let error as KafkaError where error.code == .topicAlreadyExists {
                    // Somebody else made them at the same time.
                }
                for topic in missing { Terminal.say("made \(topic.name) with \(topic.partitions) partitions") }
                if missing.isEmpty { Terminal.say("nothing to make: all \(Topic.all.count) topics are there") }
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the topics, and what the cluster has of them.")

        @Option(help: "Seconds to wait for a broker.") var wait = 10

        func run() async throws {
            try await Topics.withAdmin(wait) { _, existing in
                for topic in Topic.all {
                    let state =
                        switch existing[topic.name] {
                        case nil: "missing"
                        case topic.partitions: "\(topic.partitions) partitions"
                        case .some(let count): "\(count) partitions instead of \(topic.partitions)"
                        }
                    Terminal.say("\(topic.name): \(state); key \(topic.key), written by \(topic.writers)")
                }
            }
        }
    }

    private static func withAdmin(
        _ wait: Int, _ body: (KafkaAdmin, [String: Int]) async throws -> Void
    ) async throws {
        let configuration = try Surroundings().kafka()
        let admin = try KafkaAdmin(configuration)
        do {
            let existing = try await withPatience(wait, "Kafka at \(configuration.bootstrapServers)") {
                try await admin.existingTopics(timeout: .seconds(min(5, max(1, wait))))
            }
            try await body(admin, existing)
            await admin.close()
        } catch {
            await admin.close()
            throw error
        }
    }
}
